// SPDX-License-Identifier: LGPL-2.1-or-later
// The daemon on the system bus.  It is never started from here, and never polled.

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';

const NAME = 'org.liveupdate1';
const ROOT = '/org/liveupdate1';
const MANAGER = 'org.liveupdate1.Manager';
const JOB = 'org.liveupdate1.Job';
const SESSION = 'org.liveupdate1.Session';
const PASSWORD_MS = 300000;

/**
 * @typedef {object} Status
 * @property {object} manager - properties of org.liveupdate1.Manager
 * @property {?object} job - properties of the one under way, and its `path`
 * @property {?object} session - properties of the newest
 */

export class Host {
    /**
     * @param {Function} changed - called with a Status, or null while the daemon is not there
     */
    constructor(changed) {
        this._changed = changed;
        this._there = false;
        this._looking = false;
        this._stale = false;
    }

    listen() {
        this._bus = Gio.DBus.system;
        this._cancellable = new Gio.Cancellable();
        this._subscription = this._bus.signal_subscribe(
            NAME, null, null, null, null, Gio.DBusSignalFlags.NONE,
            () => this._look());
        this._watch = Gio.bus_watch_name_on_connection(
            this._bus, NAME, Gio.BusNameWatcherFlags.NONE,
            () => {
                this._there = true;
                this._look();
            },
            () => {
                this._there = false;
                this._changed(null);
            });
    }

    destroy() {
        this._there = false;
        Gio.bus_unwatch_name(this._watch);
        this._bus.signal_unsubscribe(this._subscription);
        this._cancellable.cancel();
        this._bus = null;
    }

    /**
     * @param {string} job - its object path
     * @returns {Promise} rejected with what the daemon or polkit says
     */
    async cancel(job) {
        await this._call(
            job, JOB, 'Cancel', null, Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION);
    }

    // Signals come in swarms: while one look is under way, one more is enough for all of them.
    async _look() {
        this._stale = true;
        if (this._looking)
            return;
        this._looking = true;
        try {
            while (this._stale && this._there) {
                this._stale = false;
                // One after the other is what is wanted.
                // eslint-disable-next-line no-await-in-loop
                const status = await this._status();
                if (this._there)
                    this._changed(status);
            }
        } catch (error) {
            // The daemon went away meanwhile, or this extension did.
            if (this._there)
                console.debug(`liveupdated: ${error.message}`);
        } finally {
            this._looking = false;
        }
    }

    async _status() {
        const [manager, jobs] = await Promise.all([
            this._properties(ROOT, MANAGER),
            this._call(ROOT, MANAGER, 'ListJobs', null),
        ]);
        const job = jobs[0].find(([, properties]) => !properties.Result);
        return {
            manager,
            job: job ? {path: job[0], ...job[1]} : null,
            session: manager.LastSession === '/'
                ? null
                : await this._properties(manager.LastSession, SESSION),
        };
    }

    async _properties(path, iface) {
        const [found] = await this._call(
            path, 'org.freedesktop.DBus.Properties', 'GetAll', new GLib.Variant('(s)', [iface]));
        return found;
    }

    _call(path, iface, method, args, flags = Gio.DBusCallFlags.NONE) {
        const limit = flags === Gio.DBusCallFlags.NONE ? -1 : PASSWORD_MS;
        return new Promise((resolve, reject) => {
            this._bus.call(
                NAME, path, iface, method, args, null,
                flags | Gio.DBusCallFlags.NO_AUTO_START, limit, this._cancellable,
                (bus, result) => {
                    try {
                        resolve(bus.call_finish(result).recursiveUnpack());
                    } catch (error) {
                        if (error instanceof GLib.Error)
                            Gio.DBusError.strip_remote_error(error);
                        reject(error);
                    }
                });
        });
    }
}
