// SPDX-License-Identifier: LGPL-2.1-or-later
// What people read: from the daemon's properties to words.  Pure functions.

import {gettext as _} from 'resource:///org/gnome/shell/extensions/extension.js';

/**
 * @param {object} status - a Status of host.js
 * @returns {string} what goes on or waits, in a word or two; empty when all is up to date
 */
export function summary({manager, job}) {
    switch (job?.Kind) {
    case undefined:
        break;
    case 'rehearse':
        return _('Rehearsing');
    case 'stage':
        return _('Loading a kernel');
    case 'rollback':
        return _('Going back');
    default:
        return _('Updating');
    }
    switch (manager.State) {
    case 'restoring':
        return _('Restoring');
    case 'checking':
        return _('Checking');
    }
    if (manager.StagedKernel && manager.NextUpdate)
        return _('Update scheduled');
    if (manager.StagedKernel || manager.RebootRequired)
        return _('Kernel waiting');
    return '';
}

/**
 * @param {object} manager - properties
 * @returns {string} the kernel that waits, or the one that runs
 */
export function kernel(manager) {
    if (manager.StagedKernel === 'unknown')
        return _('Another kernel is loaded');
    if (manager.StagedKernel)
        return _('Linux %s is ready').format(manager.StagedKernel);
    if (manager.RebootRequired)
        return _('A newer kernel is installed');
    return _('Linux %s is up to date').format(manager.RunningKernel);
}

/**
 * @param {object} manager - properties
 * @returns {string} when the schedule elapses next
 */
export function next(manager) {
    return manager.NextUpdate
        ? _('Next update: %s').format(moment(manager.NextUpdate))
        : _('No update is scheduled');
}

/**
 * @param {?object} job - properties
 * @returns {string} how far it is; empty without one
 */
export function progress(job) {
    if (!job?.Step)
        return '';
    const percent = Math.floor(job.Progress * 100);
    // Translators: what is being done, and how much of it
    return percent ? _('%s (%d %%)').format(job.Step, percent) : job.Step;
}

/**
 * @param {?object} session - properties
 * @returns {string} how the last update went; empty while it goes on
 */
export function result(session) {
    const when = session ? moment(session.Created) : '';
    switch (session?.State) {
    case 'confirmed':
        return _('Updated to Linux %s, %s').format(session.ArrivalKernel, when);
    case 'degraded':
        return _('Updated with problems, %s').format(when);
    case 'missed':
        return _('The update did not arrive, %s').format(when);
    case 'abandoned':
        return _('The update was called off, %s').format(when);
    case 'rehearsed':
        return _('Rehearsed, %s').format(when);
    default:
        return '';
    }
}

// In the way of the user's language; µs since 1970.
function moment(us) {
    return new Date(us / 1000).toLocaleString(undefined, {
        weekday: 'short',
        day: 'numeric',
        month: 'short',
        hour: '2-digit',
        minute: '2-digit',
    });
}
