# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be booted, and what is to be done with it."""

from collections.abc import Callable, Iterable

from . import model, widgets
from .i18n import _
from .model import KernelRow
from .store import Store
from .toolkit import Widget


class Kernels:
    title = _("Kernels")
    icon = "drive-harddisk-system-symbolic"

    def __init__(self, store: Store, chosen: Callable[[], None]) -> None:
        """`chosen` is called when a kernel was taken as the target."""
        self._store = store
        self._chosen = chosen
        self._groups = widgets.Groups()
        self.page = widgets.page(self.title, "kernels", self._groups.widget)

    def show(self) -> None:
        rows = model.kernel_rows(self._store.kernels)
        self._groups.show(rows, lambda: self._make(rows))

    def _make(self, rows: tuple[KernelRow, ...]) -> Iterable[Widget]:
        yield widgets.group(
            "", [self._row(row) for row in rows], _("Kernels that this computer can boot.")
        )

    def _row(self, row: KernelRow) -> Widget:
        facts = [widgets.pair(name, text) for name, text in row.facts]
        made = widgets.folded(row.title, row.subtitle, [*facts, self._orders(row)])
        for word in row.words:
            made.add_suffix(widgets.label(word))
        return made

    def _orders(self, row: KernelRow) -> Widget:
        order = self._store.order
        made = []
        if row.usable and not row.running:
            made.append(self._button(_("_Plan Update"), row, lambda: self._aim(row.id)))
        if row.staged:
            made.append(self._button(_("_Unload"), row, lambda: order("Unstage")))
        elif row.usable:
            made.append(self._button(_("_Load"), row, lambda: order("Stage", row.id)))
        if row.blocked:
            made.append(self._button(_("Al_low"), row, lambda: order("Unblock", row.id)))
        else:
            made.append(self._button(_("_Block"), row, lambda: order("Block", row.id)))
        box = widgets.buttons(made)
        box.set_margin_top(6)
        box.set_margin_bottom(6)
        return box

    @staticmethod
    def _button(text: str, row: KernelRow, pressed: Callable[[], None]) -> Widget:
        return widgets.button(text, pressed, name=f"{text.replace('_', '')}: {row.title}")

    def _aim(self, kernel: str) -> None:
        self._store.aim(kernel)
        self._chosen()
