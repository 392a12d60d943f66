// SPDX-License-Identifier: Apache-2.0

// ws_client.js URL CODE REASON: says what an echoing server must give back, by
// the `ws` package, closes with CODE, and prints as JSON what came of it.
'use strict';

const WebSocket = require('ws');

const [url, code, reason] = process.argv.slice(2);
const messages = ['text', Buffer.from([0, 1, 254, 255]), 'u'.repeat(300000), Buffer.alloc(2 << 20, 7), 'in two parts', ''];
const said = {echoed: 0, pongs: 0};
const socket = new WebSocket(url, ['chat'], {headers: {host: 'reviews:9080', 'x-mine': 'kept'}, handshakeTimeout: 10000});

socket.on('upgrade', (response) => { said.server = response.headers.server; });
socket.on('pong', () => { said.pongs++; });
socket.on('error', (error) => { said.error = error.message; });
socket.on('unexpected-response', (request, response) => {
    said.status = response.statusCode;
    request.destroy();
});
socket.on('open', () => {
    said.protocol = socket.protocol;
    said.extensions = socket.extensions;
    socket.ping('here');
    for (const message of messages) {
        if (message === 'in two parts') {
            socket.send('in two', {fin: false});
            socket.send(' parts', {fin: true});
        } else {
            socket.send(message);
        }
    }
});
socket.on('message', (data, isBinary) => {
    const sent = messages[said.echoed];
    if (isBinary !== Buffer.isBuffer(sent) || !Buffer.from(sent).equals(data))
        said.error = 'message ' + said.echoed + ' came back as another';
    if (++said.echoed === messages.length)
        socket.close(Number(code), reason);
});
socket.on('close', (closeCode, closeReason) => {
    said.code = closeCode;
    said.reason = closeReason.toString();
});
process.on('exit', () => console.log(JSON.stringify(said)));
