# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several who wait for one unit."""

import threading

import pytest

from liveupdated import systemd, unitwatch


def test_who_waits_for_the_same_unit_longer_goes_on_seeing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, done = threading.Event(), threading.Event()
    monkeypatch.setattr(
        systemd, "show", lambda names, _: {name: {"ActiveState": "active"} for name in names}
    )
    monkeypatch.setattr(unitwatch, "INTERVAL_S", 0.01)
    watch = unitwatch.Watch()

    def late(unit: systemd.Properties) -> bool:
        begun.set()
        return done.is_set() and bool(unit)

    found: list[systemd.Properties] = []
    longer = threading.Thread(target=lambda: found.append(watch.until("a.service", late, 30)))
    longer.start()
    assert begun.wait(30)
    watch.until("a.service", bool, 30)
    done.set()
    longer.join()
    assert found == [{"ActiveState": "active"}]
