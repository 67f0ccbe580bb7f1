// SPDX-License-Identifier: LGPL-2.1-or-later

import GObject from 'gi://GObject';
import Shell from 'gi://Shell';

import * as Main from 'resource:///org/gnome/shell/ui/main.js';
import * as PopupMenu from 'resource:///org/gnome/shell/ui/popupMenu.js';
import {gettext as _} from 'resource:///org/gnome/shell/extensions/extension.js';
import {QuickMenuToggle} from 'resource:///org/gnome/shell/ui/quickSettings.js';

import * as words from './words.js';

const ICON = 'software-update-available-symbolic';
const WINDOW = 'org.liveupdate1.Window.desktop';

export const Tile = GObject.registerClass(
class Tile extends QuickMenuToggle {
    constructor(host) {
        super({title: _('Live Update'), iconName: ICON, visible: false});
        this._host = host;
        this._job = '';
        this.menu.setHeader(ICON, _('Live Update'));
        [this._progress, this._kernel, this._next, this._result] = [1, 2, 3, 4].map(() => {
            const item = new PopupMenu.PopupMenuItem('', {reactive: false});
            item.label.clutter_text.line_wrap = true;
            this.menu.addMenuItem(item);
            return item;
        });
        this.menu.addMenuItem(new PopupMenu.PopupSeparatorMenuItem());
        this._cancel = this.menu.addAction(_('Cancel'), () => this._askToCancel());
        this._details = this.menu.addAction(_('Details'), () => this._openWindow());
        this.connect('clicked', () => this.menu.open());
    }

    /**
     * @param {?object} status - a Status of host.js
     */
    show(status) {
        this.visible = status !== null;
        if (!status)
            return;
        const {manager, job, session} = status;
        const summary = words.summary(status);
        this.subtitle = summary || null;
        this.checked = summary !== '';
        this._job = job?.path ?? '';
        setText(this._progress, words.progress(job));
        setText(this._kernel, words.kernel(manager));
        setText(this._next, words.next(manager));
        setText(this._result, words.result(session));
        this._cancel.visible = job?.Cancellable ?? false;
        this._details.visible = this._window() !== null;
    }

    async _askToCancel() {
        try {
            await this._host.cancel(this._job);
        } catch (error) {
            Main.notifyError(_('The update was not cancelled'), error.message);
        }
    }

    _window() {
        return Shell.AppSystem.get_default().lookup_app(WINDOW);
    }

    _openWindow() {
        Main.panel.closeQuickSettings();
        Main.overview.hide();
        this._window()?.activate();
    }
});

function setText(item, text) {
    item.label.text = text;
    item.visible = text !== '';
}
