# SPDX-License-Identifier: LGPL-2.1-or-later
import pytest

from liveupdated.session import Session

from .example import example


@pytest.fixture
def session() -> Session:
    return example()
