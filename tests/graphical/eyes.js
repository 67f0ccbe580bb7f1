// SPDX-License-Identifier: LGPL-2.1-or-later
// Evaluated in GNOME Shell: an object that sees and does what somebody at the screen can.
(() => {
    const {Clutter, St} = imports.gi;

    function* below(actor) {
        for (const child of actor.get_children()) {
            if (!child.mapped)
                continue;
            yield child;
            yield* below(child);
        }
    }

    const all = () => [...below(global.stage)];
    const text = actor => actor instanceof Clutter.Text ? actor.text : '';

    return {
        texts: () => all().map(text).filter(shown => shown),

        // A button or an entry of a menu that says so.
        press(label) {
            for (let actor of all().filter(each => text(each) === label)) {
                for (; actor; actor = actor.get_parent()) {
                    if (actor instanceof St.Button) {
                        actor.emit('clicked', 1);
                        return true;
                    }
                    if (actor.activate && actor.label) {
                        actor.activate(null);
                        return true;
                    }
                }
            }
            return false;
        },

        // Into the only entry there is.
        type(words) {
            const entry = all().find(each => each instanceof St.Entry);
            entry.set_text(words);
            entry.clutter_text.emit('activate');
        },

        openQuickSettings: () => Main.panel.statusArea.quickSettings.menu.open(),
        closeQuickSettings: () => Main.panel.closeQuickSettings(),
    };
})()
