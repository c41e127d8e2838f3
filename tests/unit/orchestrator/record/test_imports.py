"""What importing the record loads."""

import subprocess
import sys


def test_importing_the_record_imports_nothing_heavy() -> None:
    heavy = {"mlflow", "pandas", "numpy", "ray", "torch", "pydantic", "sqlalchemy"}
    code = f"""
import sys
import orchestrator.record.recorded_study
import orchestrator.record.record
print(sorted({heavy!r} & set(sys.modules)))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
