"""The saved view of an experiment."""

from orchestrator.record.mlflow_store import saved_view


def test_the_saved_view_is_written_as_ever() -> None:
    assert saved_view(["perplexity", "blimp/accuracy"]) == (
        '{"name": "Halfwave: conditions", "createdAt": 0, "state": "{\\"searchFilter\\": '
        "\\\"tags.`halfwave.kind` = 'condition'\\\", "
        '\\"orderByKey\\": \\"params.`model`\\", \\"orderByAsc\\": true, \\"selectedColumns\\": '
        '[\\"params.`model`\\", \\"params.`condition`\\", \\"params.`fraction`\\", \\"params.`intervention`\\", '
        '\\"metrics.`perplexity`\\", \\"metrics.`blimp/accuracy`\\"]}"}'
    )
