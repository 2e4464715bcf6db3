// A real browser, and what every page is held to in it.
//
// What it is told, by the environment:
//   SITE             where the site is, as https://www.foobar.com
//   RESOLVE          how its name is resolved, as "MAP www.foobar.com 127.0.0.1:8443"; by DNS without
//   CHROMIUM         the browser's program
//   ARTEFACTS        where screenshots go
//   SESSION_SECONDS  how long the site lets people stay signed in, if so short that it can be waited for
//   LEVERS           a directory: a file named `pause` there takes the primary away, `resume` returns it
//   ADMIN            name and password of an administrator, as "name:password"
//
// The site's certificate comes from an authority that is made with each lab, so it is not checked here.

import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

export const site = process.env.SITE ?? 'https://www.foobar.com';
export const password = 'correct horse battery';
export const sessionSeconds = Number(process.env.SESSION_SECONDS ?? 0);
export const levers = process.env.LEVERS;
export const admin = process.env.ADMIN?.split(':');

const artefacts = process.env.ARTEFACTS ?? new URL('artefacts', import.meta.url).pathname;

/** The ways in which people look at the site. */
export const ways = {
  desk: { viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  night: { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
  phone: { viewport: { width: 390, height: 844 }, colorScheme: 'light', hasTouch: true, isMobile: true },
  nightPhone: { viewport: { width: 390, height: 844 }, colorScheme: 'dark', hasTouch: true, isMobile: true },
};

export async function launch() {
  await mkdir(artefacts, { recursive: true });
  const args = ['--no-sandbox', '--disable-quic'];
  if (process.env.RESOLVE) {
    args.push(`--host-resolver-rules=${process.env.RESOLVE}`);
  }
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args,
  });
}

/** Someone's browser. What goes wrong in it is kept in `complaints`. */
export async function visitor(browser, options = ways.desk) {
  const context = await browser.newContext({ baseURL: site, ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => {
    // A status that a test asks for is told as an error of the network, too.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
      page.complaints.push(message.text());
    }
  });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('response', (response) => {
    if (response.status() >= 400 && response.request().resourceType() !== 'document') {
      page.complaints.push(`${response.status()} ${response.url()}`);
    }
  });
  return page;
}

/** A name that nobody has yet. */
export function someone() {
  return `u${randomBytes(5).toString('hex')}`;
}

export async function signUp(page, name = someone()) {
  await page.goto('/signup');
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('main').getByRole('button', { name: 'Sign up' }).click();
  await page.getByText('Welcome!').waitFor();
  return name;
}

export async function signIn(page, name, secret = password) {
  await page.goto('/login');
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(secret);
  await page.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
}

export async function write(page, text) {
  await page.goto('/');
  await page.getByLabel('New post').fill(text);
  await page.getByRole('button', { name: 'Post', exact: true }).click();
  await page.getByText('Your post is out.').waitFor();
}

/** Has something done to the site, which takes a moment. */
export async function pull(lever) {
  await writeFile(`${levers}/${lever}`, '');
}

export async function shot(page, name) {
  await page.screenshot({ path: `${artefacts}/${name}.png`, fullPage: true });
}

/** What axe finds, whether the page fits its width, and whether the browser complained. */
export async function inspect(page, name) {
  await shot(page, name);
  // Evaluated by the debugger, for which the policy against scripts makes an exception.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const told = violations.map(({ id, impact, help, nodes }) =>
    `${id} (${impact}): ${help}: ${nodes.map((node) => node.html).join(' ')}`);
  assert.deepEqual(told, [], `${name}: ${told.join('\n')}`);
  const [wide, width] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    document.documentElement.clientWidth,
  ]);
  assert.ok(wide <= width, `${name} is ${wide} wide on a screen of ${width}`);
  assert.deepEqual(page.complaints, [], name);
}
