"""The language of code and documents, as a test: ``python -m tests.language`` lists the same."""

import pytest

from tests.language import files, findings


def test_language_is_plain() -> None:
    found = [str(one) for one in findings(files())]
    if found:
        pytest.fail("\n".join(found), pytrace=False)
