// SPDX-License-Identifier: LGPL-2.1-or-later

// The rules of GNOME's own JavaScript, as GNOME Shell's extensions are linted with them
// (https://gjs.guide/guides/gjs/style-guide.html), and of extensions.gnome.org: nothing of the old
// modules, nothing that is deprecated.

import js from '@eslint/js';

const ERRORS = `
    array-callback-return block-scoped-var consistent-return no-array-constructor no-await-in-loop
    no-caller no-eval no-extend-native no-extra-bind no-implicit-globals no-implied-eval no-iterator
    no-lone-blocks no-lonely-if no-loop-func no-new-wrappers no-object-constructor
    no-promise-executor-return no-proto no-return-assign no-self-compare no-shadow no-throw-literal
    no-unneeded-ternary no-unused-expressions no-useless-call no-useless-computed-key
    no-useless-concat no-useless-constructor no-useless-rename no-useless-return no-var no-with
    object-shorthand operator-assignment prefer-arrow-callback prefer-const
    prefer-numeric-literals prefer-promise-reject-errors prefer-rest-params prefer-spread
    prefer-template require-await symbol-description yoda
`;

export default [
    js.configs.recommended,
    {
        languageOptions: {
            ecmaVersion: 2022,
            sourceType: 'module',
            globals: {console: 'readonly'},
        },
        linterOptions: {reportUnusedDisableDirectives: 'error'},
        rules: {
            ...Object.fromEntries(ERRORS.trim().split(/\s+/).map(rule => [rule, 'error'])),
            'eqeqeq': ['error', 'smart'],
            'no-else-return': ['error', {allowElseIf: false}],
            'no-restricted-imports': ['error', {
                paths: ['gi://Gtk', 'gi://Gdk', 'gi://Adw'].map(name => ({
                    name,
                    message: 'the Shell is no GTK program',
                })),
                patterns: [{
                    group: ['gi://ByteArray', '*byteArray*', '*/lang.js', '*mainloop*'],
                    message: 'deprecated (extensions.gnome.org)',
                }],
            }],
            'no-unused-vars': ['error', {argsIgnorePattern: '^_'}],
        },
    },
];
