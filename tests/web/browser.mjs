// Chromium over a pipe: no package, no port.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const STEP_MS = 50;
const PATIENCE_MS = 20_000;

export class Browser {
  #process;
  #waiting = new Map();
  #last = 0;
  #session;
  // What no page should cause: exceptions, messages of the console, refused loads.
  complaints = [];
  // Addresses that were asked for.
  requests = [];

  static async start(program) {
    const browser = new Browser();
    browser.profile = mkdtempSync(join(tmpdir(), 'pixgen-chromium-'));
    const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-extensions', '--disable-component-update', '--disable-background-networking'];
    browser.#process = spawn(program, [...flags, '--remote-debugging-pipe', `--user-data-dir=${browser.profile}`, 'about:blank'], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    });
    browser.#process.on('error', (error) => browser.#end(error));
    browser.#process.on('exit', () => browser.#end(new Error('Chromium ended')));
    let text = '';
    browser.#process.stdio[4].setEncoding('utf8').on('data', (chunk) => {
      const parts = (text + chunk).split('\0');
      text = parts.pop();
      parts.forEach((part) => browser.#receive(JSON.parse(part)));
    });
    await browser.#attach();
    return browser;
  }

  #end(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #receive({ id, result, error, method, params }) {
    if (id) {
      const { resolve, reject } = this.#waiting.get(id) ?? {};
      this.#waiting.delete(id);
      if (error) reject?.(new Error(error.message));
      else resolve?.(result);
    } else if (method === 'Network.requestWillBeSent') {
      this.requests.push(params.request.url);
    } else if (method === 'Runtime.exceptionThrown') {
      this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    } else if (method === 'Log.entryAdded') {
      this.complaints.push(params.entry.text);
    } else if (method === 'Runtime.consoleAPICalled') {
      this.complaints.push(params.args.map((argument) => argument.value).join(' '));
    }
  }

  call(method, params = {}) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId: this.#session })}\0`);
    });
  }

  async #attach() {
    const { targetInfos } = await this.call('Target.getTargets');
    const { targetId } = targetInfos.find(({ type }) => type === 'page');
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    this.#session = sessionId;
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await this.call(`${domain}.enable`);
    await this.call('Network.emulateNetworkConditions', { offline: true, latency: 0, downloadThroughput: 0, uploadThroughput: 0 });
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
    return result.value;
  }

  async until(what, expression) {
    for (let waited = 0; waited < PATIENCE_MS; waited += STEP_MS) {
      if (await this.evaluate(expression)) return;
      await new Promise((done) => setTimeout(done, STEP_MS));
    }
    throw new Error(`waited in vain until ${what}\n${this.complaints.join('\n')}`);
  }

  // The middle of an element, after scrolling to it.
  async #place(selector) {
    const place = await this.evaluate(`(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      element.scrollIntoView({ block: 'center', behavior: 'instant' });
      const { x, y, width, height } = element.getBoundingClientRect();
      return { x: x + width / 2, y: y + height / 2 };
    })()`);
    return place;
  }

  #mouse(type, place, buttons) {
    return this.call('Input.dispatchMouseEvent', { type, ...place, button: 'left', buttons, clickCount: 1 });
  }

  click(selector) {
    return this.drag([selector]);
  }

  async drag(selectors) {
    let place = await this.#place(selectors[0]);
    await this.#mouse('mouseMoved', place, 0);
    await this.#mouse('mousePressed', place, 1);
    for (const selector of selectors.slice(1)) {
      place = await this.#place(selector);
      await this.#mouse('mouseMoved', place, 1);
    }
    await this.#mouse('mouseReleased', place, 0);
  }

  async tap(selector) {
    const place = await this.#place(selector);
    await this.call('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: [place] });
    await this.call('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
  }

  async press(key, text) {
    const codes = { Enter: 13, ' ': 32, Tab: 9, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40 };
    const event = { key, code: key === ' ' ? 'Space' : key, windowsVirtualKeyCode: codes[key], text };
    await this.call('Input.dispatchKeyEvent', { type: text ? 'keyDown' : 'rawKeyDown', ...event });
    await this.call('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
  }

  async screenshot() {
    const { data } = await this.call('Page.captureScreenshot');
    return Buffer.from(data, 'base64');
  }

  async close() {
    const ended = new Promise((done) => this.#process.once('exit', done));
    await this.call('Browser.close').catch(() => {});
    await ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
}
