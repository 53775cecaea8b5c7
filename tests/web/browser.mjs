// Opens the explorer in headless Chromium with every address but this machine's unreachable, reads the schema
// docs, types a query, runs it, and prints what it saw as JSON.
//
//   node tests/web/browser.mjs URL [--query TEXT] [--headers JSON] [--screenshot FILE] [--signed-out] [--attack]
//
// --signed-out reads the page's alert instead; --attack tries, after the tour, what the page's policy must stop.
// URL may be a sign-in link that leads to the explorer. Set CHROMIUM to use another browser binary. Needs
// `npm ci` in tests/web. Exit code 0 when every step was reached, 1 with the step's error otherwise.

import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const STEP_MS = 30_000;
const LOOPBACK = new Set(['127.0.0.1', 'localhost', '[::1]']);
const DEFAULT_QUERY = '{ dashboard { today { calls successRate tokens } } }';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    query: { type: 'string', default: DEFAULT_QUERY },
    screenshot: { type: 'string' },
    headers: { type: 'string' },
    'signed-out': { type: 'boolean', default: false },
    attack: { type: 'boolean', default: false },
  },
});
const [url] = positionals;
if (!url) {
  console.error('usage: node browser.mjs URL [--query TEXT] [--headers JSON] [--screenshot FILE] [--signed-out] [--attack]');
  process.exit(2);
}

const seen = { console: [], violations: [], foreign: [], failed: [], requests: 0, docs: '', response: '', alert: '' };

// A proxy on the discard port: the browser goes round it for loopback only, so nothing else can be reached.
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-background-networking', '--proxy-server=http://127.0.0.1:9'],
});
try {
  const context = await browser.newContext({ viewport: { width: 1360, height: 800 }, colorScheme: 'light' });
  const page = await context.newPage();
  await watch(context, page);
  await page.goto(url, { timeout: STEP_MS });
  if (options['signed-out']) await readAlert(page);
  else await readDocsAndRun(page);
  if (options.attack) seen.attack = await page.evaluate(attack);
  if (options.screenshot) await takeScreenshot(page, options.screenshot);
} catch (error) {
  seen.error = String(error.message).split('\n').slice(0, 4).join(' | ');
  process.exitCode = 1;
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen, null, 2));

async function watch(context, page) {
  context.on('request', (request) => {
    seen.requests += 1;
    const { protocol, hostname } = new URL(request.url());
    if (protocol.startsWith('http') && !LOOPBACK.has(hostname)) seen.foreign.push(request.url());
  });
  context.on('response', (response) => {
    if (response.status() >= 400) seen.failed.push(`${response.status()} ${new URL(response.url()).pathname}`);
  });
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) seen.console.push(message.text());
  });
  page.on('pageerror', (error) => seen.console.push(`uncaught: ${error.message}`));
  await page.exposeFunction('reportViolation', (text) => seen.violations.push(text));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      window.reportViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`);
    });
  });
}

async function readDocsAndRun(page) {
  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click({ timeout: STEP_MS });
  const docs = page.locator('.graphiql-doc-explorer');
  await docs.getByText('Root Types').waitFor({ timeout: STEP_MS });
  seen.docs = await docs.innerText();
  await typeInto(page, '.graphiql-query-editor', options.query);
  await page.getByRole('button', { name: /^Prettify query/ }).click({ timeout: STEP_MS });
  if (options.headers) await typeHeaders(page);
  await page.getByRole('button', { name: /^Execute query/ }).click({ timeout: STEP_MS });
  const response = page.locator('.result-window .view-lines');
  await response.getByText(/"(data|errors)"/).first().waitFor({ timeout: STEP_MS });
  seen.response = await response.locator('.view-line').evaluateAll(textInOrder);
  await page.getByRole('button', { name: 'Show GraphiQL Explorer' }).click({ timeout: STEP_MS });
  const explorer = page.locator('.graphiql-explorer-root');
  // It shows the root's fields first, and those that the query selects once it has read it.
  const fields = options.query.replace(/\(.*?\)/g, '').match(/\w+/g);
  await explorer.getByText(fields.at(-1)).first().waitFor({ timeout: STEP_MS });
  seen.explorer = await explorer.innerText();
  seen.keys = await readDialog(page, 'Open short keys dialog');
  seen.settings = await readDialog(page, 'Open settings dialog');
}

async function typeInto(page, editor, text) {
  await page.locator(`${editor} .view-lines`).click({ timeout: STEP_MS });
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.press('Delete');
  await page.keyboard.type(text, { delay: 5 });
  await page.keyboard.press('Escape');
}

async function typeHeaders(page) {
  await page.getByRole('button', { name: 'Headers' }).click({ timeout: STEP_MS });
  await typeInto(page, '.graphiql-editor-tool .graphiql-editor:not(.hidden)', options.headers);
}

/** The text of a dialog of the side bar, and the links to other sites that a reader sees while it is open. */
async function readDialog(page, button) {
  await page.getByRole('button', { name: button }).click({ timeout: STEP_MS });
  const dialog = page.getByRole('dialog');
  await dialog.waitFor({ timeout: STEP_MS });
  const text = await dialog.innerText();
  const links = await page.locator('a[href*="://"]:visible').allInnerTexts();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden', timeout: STEP_MS });
  return { text, links };
}

async function readAlert(page) {
  const alert = page.locator('.sign-in');
  await alert.waitFor({ timeout: STEP_MS });
  seen.alert = await alert.innerText();
}

/** Waits until the page stands still (fonts there, no tooltip), then writes the picture. */
async function takeScreenshot(page, path) {
  await page.mouse.move(5, 790);
  await page.evaluate(() => document.fonts.ready.then(() => null));
  await page.getByRole('tooltip').first().waitFor({ state: 'hidden', timeout: STEP_MS });
  await page.screenshot({ path, animations: 'disabled' });
}

/** Runs in the page: each attempt is over when the policy reports it, or counts as let through. */
async function attack() {
  const attempts = {
    'inline script': () => document.body.append(Object.assign(document.createElement('script'), { text: 'void 0' })),
    'text run as code': () => new Function('return 1')(),
    'style markup': () => document.body.insertAdjacentHTML('beforeend', '<style>main { color: red }</style>'),
    'worker of a blob': () => new Worker(URL.createObjectURL(new Blob(['void 0']))),
    'foreign image': () => Object.assign(new Image(), { src: 'http://example.invalid/pixel.png' }),
    'foreign fetch': () => fetch('http://example.invalid/').catch(() => null),
    form: () => {
      const form = Object.assign(document.createElement('form'), { action: '/elsewhere', method: 'post' });
      document.body.append(form);
      form.submit();
    },
  };
  const outcome = {};
  for (const [name, attempt] of Object.entries(attempts)) {
    outcome[name] = await new Promise((resolve) => {
      document.addEventListener('securitypolicyviolation', () => resolve('stopped'), { once: true });
      setTimeout(() => resolve('let through'), 3000);
      try {
        attempt();
      } catch {
        // A refusal may also be thrown; the report of it decides.
      }
    });
  }
  return outcome;
}

/** Runs in the page: the editor keeps its lines in no order, and writes spaces as no-break spaces. */
function textInOrder(lines) {
  const top = (line) => line.getBoundingClientRect().top;
  const sorted = lines.sort((one, other) => top(one) - top(other));
  return sorted.map((line) => line.textContent.replaceAll('\u00a0', ' ')).join('\n');
}
