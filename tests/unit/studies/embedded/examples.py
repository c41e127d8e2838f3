"""Pairs of every construction, read and judged one by one: `had worn/*wore the hat`; `*` begins a bad sentence."""

import re

TEXT = """
agreement_across_object_relative
    The artist that the bankers like laughs/*laugh.
    The songs that the clerk remembers come/*comes from Italy.
agreement_across_object_relative_no_that
    The artist the bankers like laughs/*laugh.
    The songs the clerk remembers come/*comes from Italy.
agreement_across_prepositional_phrase
    The artist near the bankers laughs/*laugh.
    The songs by the clerk come/*comes from Italy.
agreement_across_subject_relative
    The artist that likes the bankers laughs/*laugh.
    The songs that describe the clerk come/*comes from Italy.
agreement_in_long_vp_coordination
    The artist speaks several foreign languages and enjoys/*enjoy cooking for large groups.
    The tourists know many people in the capital and take/*takes photographs of wild birds.
agreement_in_sentential_complement
    The bankers said the artist laughs/*laugh.
    The clerk admitted the songs come/*comes from Italy.
agreement_in_short_vp_coordination
    The artist smiles a lot and laughs/*laugh.
    The songs look interesting and come/*comes from Italy.
agreement_simple
    The artist laughs/*laugh.
    The songs come/*comes from Italy.
agreement_within_object_relative
    The artist that the bankers like/*likes laughs.
    The songs that the clerk remembers/*remember come from Italy.
agreement_within_object_relative_no_that
    The artist the bankers like/*likes laughs.
    The songs the clerk remembers/*remember come from Italy.
argument_structure_adjective_or_object
    The author looked/*thanked hungry after the concert.
    The author thanked/*looked the mayor after the concert.
    The students seemed/*praised sleepy during the party.
    The students praised/*seemed the critics during the party.
argument_structure_clause_or_infinitive
    The client agreed/*helped that the banker would sing.
    The client helped/*agreed the banker to sing.
    The guests hoped/*forced that the clerks would sing.
    The guests forced/*hoped the clerks to sing.
argument_structure_clause_or_object
    The dentist insisted/*greeted that the clerk was late.
    The dentist greeted/*insisted the clerk after the concert.
    The singers agreed/*invited that the reporter was ready.
    The singers invited/*agreed the reporter during the party.
argument_structure_passive
    The editor was praised/*slept by the clerk.
    The editor had slept/*praised after the concert.
    The students were praised/*slept by the scientist.
    The students had slept/*praised near the station.
argument_structure_relative_clause
    The editor that the professor admired/*arrived became famous.
    The editor that arrived/*admired became famous.
    The patients that the clerk greeted/*laughed became famous.
    The patients that laughed/*greeted became famous.
argument_structure_transitive
    The artist praised/*slept the professor during the party.
    The artist slept/*praised during the party.
    The guests greeted/*laughed the bankers during the party.
    The guests laughed/*greeted during the party.
argument_structure_two_objects_or_one
    The editor handed/*greeted the professors a photograph.
    The editor greeted/*handed the professors near the station.
    The patients gave/*thanked the mayors a letter.
    The patients thanked/*gave the mayors near the station.
case_after_preposition
    The dentist laughed because we/*us fell.
    The dentist laughed at us/*we.
    The guests sat down when she/*her returned.
    The guests sat behind her/*she.
case_in_double_object
    Then we/*us sent the client a letter.
    Then the client sent us/*we a letter.
    Later we/*us showed the patients a map.
    Later the patients showed us/*we a map.
case_in_embedded_clause
    The clerk admitted that we/*us praised the artist.
    The clerk admitted that the artist praised us/*we.
    The clerk said that she/*her greeted the guests.
    The clerk said that the guests greeted her/*she.
case_in_infinitival_complement
    The athlete said he/*him would leave.
    The athlete told him/*he to leave.
    The guests believed he/*him would stay at home.
    The guests expected him/*he to stay at home.
case_in_question
    Did we/*us thank the editor before lunch?
    Did the editor thank us/*we before lunch?
    Did she/*her greet the journalists before lunch?
    Did the journalists greet her/*she before lunch?
case_in_relative_clause
    The client that they/*them praised smiled.
    The client that praised them/*they smiled.
    The guests that she/*her thanked smiled.
    The guests that thanked her/*she smiled.
case_simple
    Yesterday they/*them invited the author.
    Yesterday the author invited them/*they.
    Yesterday she/*her greeted the journalists.
    Yesterday the journalists greeted her/*she.
determiner_noun_agreement_in_coordination
    We praised that author and that banker/*bankers.
    We praised that author and those bankers/*banker.
    We thanked these singers and this clerk/*clerks.
    We thanked these singers and these clerks/*clerk.
determiner_noun_agreement_much_and_many
    The reporter had so much/*many equipment.
    The reporter had so many/*much tools.
    The critic got too much/*many luggage.
    The critic got too many/*much bags.
determiner_noun_agreement_of_subject
    This/*These client thanked the mayor.
    These/*This clients thanked the mayor.
    This/*These journalist greeted the professor.
    These/*This journalists greeted the professor.
determiner_noun_agreement_simple
    The mayor praised that author/*authors.
    The mayor praised those authors/*author.
    The captain greeted this tourist/*tourists.
    The captain greeted these tourists/*tourist.
determiner_noun_agreement_with_adjective
    The reporter praised this friendly artist/*artists.
    The reporter praised these friendly artists/*artist.
    The captain thanked this young student/*students.
    The captain thanked these young students/*student.
determiner_noun_agreement_with_irregular_noun
    The banker followed this child/*children.
    The banker followed these children/*child.
    The professor rescued this wolf/*wolves.
    The professor rescued these wolves/*wolf.
determiner_noun_agreement_with_quantifier
    The mayor praised every author/*authors.
    The mayor praised many authors/*author.
    The captain invited every patient/*patients.
    The captain invited many patients/*patient.
determiner_noun_agreement_with_two_adjectives
    The clerk thanked this tall young athlete/*athletes.
    The clerk thanked these tall young athletes/*athlete.
    The scientist invited this tall young student/*students.
    The scientist invited these tall young students/*student.
filler_gap_across_clause
    We knew what/*that the clerk thought the artist destroyed near the station.
    We knew that/*what the clerk thought the artist destroyed the statue near the station.
    We knew what/*that the clerk thought the journalists repaired during the party.
    We knew that/*what the clerk thought the journalists repaired the clock during the party.
filler_gap_across_infinitive
    The professor knew what/*that the client decided to destroy after the concert.
    The professor knew that/*what the client decided to destroy the statue after the concert.
    The critic knew what/*that the tourists hoped to carry after the concert.
    The critic knew that/*what the tourists hoped to carry the box after the concert.
filler_gap_in_question
    What/*Where did the artist carry before lunch?
    Where/*What did the artist carry the box?
    What/*Where did the patients carry before lunch?
    Where/*What did the patients carry the box?
filler_gap_object
    The mayor knew what/*that the artist received before lunch.
    The mayor knew that/*what the artist received the letter before lunch.
    The critic revealed what/*that the patients repaired during the party.
    The critic revealed that/*what the patients repaired the clock during the party.
filler_gap_object_of_preposition
    We knew who/*that the dentist relied on after the concert.
    We knew that/*who the dentist relied on the clerk after the concert.
    We knew who/*that the guests waited for after the concert.
    We knew that/*who the guests waited for the scientists after the concert.
filler_gap_of_adjunct
    We revealed what/*when the author described near the station.
    We revealed when/*what the author described the house near the station.
    We remembered what/*when the patients damaged during the party.
    We remembered when/*what the patients damaged the fence during the party.
filler_gap_subject
    The critics remembered who/*that carried the box during the party.
    The critics remembered that/*who the client carried the box during the party.
    The reporters noticed who/*that mentioned the accident during the party.
    The reporters noticed that/*who the journalist mentioned the accident during the party.
npi_across_object_relative
    No artist that the bankers like has ever been to Italy.
    * The artist that no bankers like has ever been to Italy.
    No songs that the clerk remembers have ever made people laugh.
    * The songs that no clerk remembers have ever made people laugh.
npi_across_subject_relative
    No author that avoids the scientist has ever slept outdoors.
    * The author that avoids no scientist has ever slept outdoors.
    No author that avoids the scientists has ever slept outdoors.
    * The author that avoids no scientists has ever slept outdoors.
    No journalists that admire the captain have ever missed a train.
    * The journalists that admire no captain have ever missed a train.
    No journalists that admire the captains have ever missed a train.
    * The journalists that admire no captains have ever missed a train.
npi_any_across_subject_relative
    The artist that has climbed a mountain has not helped any of the reporters.
    * The artist that has not climbed a mountain has helped any of the reporters.
    The artists that have climbed a mountain have not helped any of the reporters.
    * The artists that have not climbed a mountain have helped any of the reporters.
    The tourist that has seen a whale has not helped any of the mayors.
    * The tourist that has not seen a whale has helped any of the mayors.
    The tourists that have seen a whale have not helped any of the mayors.
    * The tourists that have not seen a whale have helped any of the mayors.
npi_few_and_many
    Few of the many guests have ever been to Italy.
    * Many of the few guests have ever been to Italy.
    Few of the many guests have ever seen a whale.
    * Many of the few guests have ever seen a whale.
    Few of the many patients have ever missed a train.
    * Many of the few patients have ever missed a train.
    Few of the many patients have ever won a prize.
    * Many of the few patients have ever won a prize.
npi_in_question
    Has the journalist ever missed a train?
    * The journalist has ever missed a train?
    Have the journalists ever missed a train?
    * The journalists have ever missed a train?
    Has the song ever won a prize?
    * The song has ever won a prize?
    Have the songs ever won a prize?
    * The songs have ever won a prize?
npi_negation_across_object_relative
    The artist that the reporter has helped has not ever climbed a mountain.
    * The artist that the reporter has not helped has ever climbed a mountain.
    The artist that the reporters have helped has not ever climbed a mountain.
    * The artist that the reporters have not helped has ever climbed a mountain.
    The tourists that the mayor has helped have not ever seen a whale.
    * The tourists that the mayor has not helped have ever seen a whale.
    The tourists that the mayors have helped have not ever seen a whale.
    * The tourists that the mayors have not helped have ever seen a whale.
npi_only
    Only the dentist has ever been to Italy.
    * The only dentist has ever been to Italy.
    Only the dentists have ever been to Italy.
    * The only dentists have ever been to Italy.
    Only the patient has ever seen a whale.
    * The only patient has ever seen a whale.
    Only the patients have ever seen a whale.
    * The only patients have ever seen a whale.
npi_simple
    No/*The artist has ever been to Italy.
    No/*Most athletes have ever been to Italy.
    No/*The song has ever made people laugh.
reflexives_across_object_relative
    The artist that the bankers like blamed himself/*themselves.
    The tourists that the clerk remembers surprised themselves/*himself.
reflexives_across_subject_relative
    The uncle that avoids the professor defended himself/*themselves.
    The uncle that avoids the professors defended himself/*themselves.
    The women that avoid the scientist introduced themselves/*herself.
    The women that avoid the scientists introduced themselves/*herself.
reflexives_gender
    The man blamed himself/*herself.
    The woman blamed herself/*himself.
    The prince defended himself/*herself.
    The princess defended herself/*himself.
reflexives_gender_across_prepositional_phrase
    The king in front of the brother disguised himself/*herself.
    The king in front of the sister disguised himself/*herself.
    The niece next to the brother blamed herself/*himself.
    The niece next to the sister blamed herself/*himself.
reflexives_gender_in_infinitival_complement
    The monk told the man to forgive himself/*herself.
    The nun told the man to forgive himself/*herself.
    The grandfather told the aunt to describe herself/*himself.
    The grandmother told the aunt to describe herself/*himself.
reflexives_in_sentential_complement
    The bankers said the artist blamed himself/*themselves.
    The clerk admitted the tourists surprised themselves/*himself.
reflexives_in_vp_coordination
    The son stood up and disguised himself/*themselves.
    The sons stood up and disguised themselves/*himself.
    The princess ran outside and defended herself/*themselves.
    The princesses ran outside and defended themselves/*herself.
reflexives_of_pronoun
    He disguised himself/*themselves near the station.
    They disguised themselves/*himself near the station.
    I defended myself/*ourselves before lunch.
    We defended ourselves/*myself before lunch.
reflexives_simple
    The artist blamed himself/*themselves.
    The athlete blamed herself/*themselves.
    The tourists surprised themselves/*himself.
verb_form_in_complement
    The client wanted to steal/*stealing the coat.
    The client enjoyed stealing/*steal the coat.
    The singers refused to steal/*stealing the coat.
    The singers stopped stealing/*steal the coat.
verb_form_in_coordination
    The dentist should steal the coat and shake/*shaken the tree.
    The dentist had stolen the coat and shaken/*shake the tree.
    The singer should eat the bread and take/*taken the train.
    The singer had eaten the bread and taken/*take the train.
verb_form_in_passive
    The coat that the author stole/*stolen was old.
    The coat was stolen/*stole by the author.
    The train that the students took/*taken was old.
    The train was taken/*took by the students.
verb_form_in_question
    Did the editor already shake/*shaken the tree?
    Had the editor already shaken/*shake the tree?
    Did the tourists already drive/*driven the truck?
    Had the tourists already driven/*drive the truck?
verb_form_modal_or_perfect
    The client could eat/*eaten the bread.
    The client had already eaten/*eat the bread.
    The patients must steal/*stolen the coat.
    The patients had already stolen/*steal the coat.
verb_form_modal_or_progressive
    The editor must eat/*eating the bread near the station.
    The editor was eating/*eat the bread near the station.
    The singers could shake/*shaking the tree near the station.
    The singers were shaking/*shake the tree near the station.
verb_form_past_or_perfect
    The artist shook/*shaken the tree.
    The artist had shaken/*shook the tree.
    The singers ate/*eaten the bread.
    The singers had eaten/*ate the bread.
verb_form_under_negation
    The athlete did not grow/*grown the corn.
    The athlete had not grown/*grow the corn.
    The guests did not grow/*grown the corn.
    The guests had not grown/*grow the corn.
"""


def _examples() -> dict[str, list[tuple[str, str]]]:
    """{construction: [(good, bad), ...]}."""
    examples: dict[str, list[tuple[str, str]]] = {}
    uid = good = ""
    for line in TEXT.strip().splitlines():
        sentence = line.strip()
        if not line.startswith(" "):
            uid = line
        elif sentence.startswith("* "):
            examples[uid].append((good, sentence.removeprefix("* ")))
        elif "/*" in sentence:
            halves = [re.sub(r"(\w+)/\*(\w+)", rf"\{half}", sentence) for half in (1, 2)]
            examples.setdefault(uid, []).append((halves[0], halves[1]))
        else:
            good = sentence
            examples.setdefault(uid, [])
    return examples


EXAMPLES = _examples()
