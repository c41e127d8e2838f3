"""A CoNLL-U file with what the format allows: documents, paragraphs, a multi-word token, an empty node."""

from pathlib import Path

TWO_DOCUMENTS = """\
# newdoc id = a
# sent_id = 1
# text = Don't go, Ann.
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\tMood=Imp\t3\taux\t_\t_
2\tn't\tnot\tPART\tRB\tPolarity=Neg\t3\tadvmod\t_\t_
3\tgo\tgo\tVERB\tVB\tMood=Imp|VerbForm=Fin\t0\troot\t_\tSpaceAfter=No
4\t,\t,\tPUNCT\t,\t_\t5\tpunct\t_\t_
4.1\tcome\tcome\tVERB\tVB\t_\t_\t_\t_\t_
5\tAnn\tAnn\tPROPN\tNNP\tNumber=Sing\t3\tvocative\t_\tFoo=Bar|SpaceAfter=No
6\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_

# sent_id = 2
1\tYes\tyes\tINTJ\tUH\t_\t0\troot\t_\t_

# newpar
1\tGonna\tgonna\tVERB\tVBG\t_\t0\troot\t_\t_

# newdoc id = b
1\tNo\tno\tINTJ\tUH\t_\t0\troot\t_\t_
"""


def write_conllu(folder: Path, text: str) -> Path:
    path = folder / "some.conllu"
    path.write_text(text, encoding="utf-8")
    return path
