// Tools in JavaScript, on the bindings that componentize-qjs makes for the world `tool`.
import { open } from 'hermes:plugin/blackboard@0.1.0';
import { remaining } from 'hermes:plugin/budget@0.1.0';
import { log } from 'hermes:plugin/session@0.1.0';

// QuickJS has no TextEncoder.
const utf8 = (text) => Uint8Array.from(unescape(encodeURIComponent(text)), (c) => c.charCodeAt(0));

const tool = (name, description, properties = {}) => ({
  name,
  description,
  inputSchema: JSON.stringify({ type: 'object', properties, required: Object.keys(properties) }),
});

const text = { text: { type: 'string' } };

// What an export throws is its error.
const error = (tag, message) => ({ kind: { tag }, message });

// Uses what the host offers, and says what came of it.
function ask(asked) {
  log('info', `asked ${asked}`);
  const left = remaining('tool-calls');
  const rest = left === undefined || left === null ? 'None' : String(left);
  try {
    const space = open('notes');
    const version = space.put('asked', { mediaType: 'text/plain', data: utf8(asked) }, undefined);
    return `${asked}: version ${version}, ${rest} left`;
  } catch (refused) {
    if (refused && refused.payload && refused.payload.kind.tag === 'denied') return `${asked}: denied, ${rest} left`;
    throw refused.payload ?? error('upstream', String(refused));
  }
}

function grow() {
  const kept = [];
  try {
    for (;;) kept.push(new Uint8Array(1 << 20));
  } catch {
    const mebibytes = kept.length;
    kept.length = 0;
    return String(mebibytes);
  }
}

export const toolset = {
  listTools: () => [
    tool('echo', 'Says what it is told.', text),
    tool('ask', 'Uses the host, and says what came of it.', text),
    tool('spin', 'Never ends.'),
    tool('grow', 'Takes memory until there is no more, and says how many MiB it got.'),
    tool('fail', 'Fails with these words.', text),
  ],
  call({ name, arguments: json }) {
    const given = JSON.parse(json);
    const say = (answer) => ({ content: [{ tag: 'text', val: answer }] });
    switch (name) {
      case 'echo': return say(given.text);
      case 'ask': return say(ask(given.text));
      case 'spin': for (;;);
      case 'grow': return say(grow());
      case 'fail': throw error('upstream', given.text);
      default: throw error('not-found', `There is no tool ${name}.`);
    }
  },
};
