// SPDX-License-Identifier: LGPL-2.1-or-later

import * as Main from 'resource:///org/gnome/shell/ui/main.js';
import {Extension} from 'resource:///org/gnome/shell/extensions/extension.js';
import {SystemIndicator} from 'resource:///org/gnome/shell/ui/quickSettings.js';

import {Host} from './host.js';
import {Tile} from './tile.js';

export default class LiveUpdate extends Extension {
    enable() {
        this._host = new Host(status => this._tile.show(status));
        this._tile = new Tile(this._host);
        this._indicator = new SystemIndicator();
        this._indicator.quickSettingsItems.push(this._tile);
        Main.panel.statusArea.quickSettings.addExternalIndicator(this._indicator);
        this._host.listen();
    }

    disable() {
        this._host.destroy();
        this._host = null;
        this._tile.destroy();
        this._tile = null;
        this._indicator.destroy();
        this._indicator = null;
    }
}
