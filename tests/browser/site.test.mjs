// What people do on the site, in a real browser.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  admin, inspect, launch, levers, password, pull, sessionSeconds, shot, signIn, signUp, someone, visitor, ways,
  write,
} from './browser.mjs';

let browser;

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
});

/** So long a story may take. */
const timeout = 180_000;

/** Runs a test with a browser of its own, which is closed whatever happens. */
function visit(name, options, story) {
  test(name, { timeout }, async () => {
    const page = await visitor(browser, options);
    try {
      await story(page);
    } catch (error) {
      await shot(page, `failed-${name.replaceAll(/[^a-z0-9]+/gi, '-')}`).catch(() => {});
      throw error;
    } finally {
      await page.context().close();
    }
  });
}

for (const [way, options] of Object.entries(ways)) {
  visit(`each page is accessible and fits: ${way}`, options, async (page) => {
    await page.goto('/');
    await inspect(page, `${way}-timeline-signed-out`);
    await page.goto('/login');
    await inspect(page, `${way}-sign-in`);
    await page.goto('/signup');
    await inspect(page, `${way}-sign-up`);
    await page.getByLabel('Name').fill('abc');
    await page.getByLabel('Password').fill('abc abc abc');
    await page.getByRole('main').getByRole('button', { name: 'Sign up' }).click();
    await page.getByRole('alert').waitFor();
    await inspect(page, `${way}-sign-up-error`);

    const name = await signUp(page);
    await inspect(page, `${way}-welcome`);
    await write(page, `A word as long as this one has to break: ${'long'.repeat(60)}\n\nAnd a second line.`);
    await inspect(page, `${way}-timeline`);
    await page.goto(`/people/${name}`);
    await inspect(page, `${way}-person`);
    await page.getByRole('article').getByRole('link', { name: /UTC$/ }).first().click();
    await inspect(page, `${way}-post`);
    await page.getByRole('link', { name: /^Edit/ }).click();
    await inspect(page, `${way}-edit`);
    await page.goBack();
    await page.getByRole('link', { name: /^Delete/ }).click();
    await inspect(page, `${way}-delete`);
    await page.goto('/settings');
    await inspect(page, `${way}-settings`);
    await page.goto('/nowhere');
    await inspect(page, `${way}-not-found`);
    await page.goto('/admin');
    await inspect(page, `${way}-forbidden`);
  });
}

for (const [way, options] of [
  ['with scripts', ways.desk],
  ['without scripts, on a phone', { ...ways.phone, javaScriptEnabled: false }],
]) {
  visit(`sign up, post, edit, delete, sign out and in: ${way}`, options, async (page) => {
    const name = await signUp(page);
    const mine = page.getByRole('article').filter({ hasText: `From ${name}` });
    await write(page, `From ${name}`);
    assert.equal(await mine.count(), 1);

    await mine.getByRole('link', { name: /^Edit/ }).click();
    const field = page.getByLabel('Your post');
    assert.equal(await field.inputValue(), `From ${name}`);
    await field.fill(`From ${name}, corrected`);
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('Your post was changed.').waitFor();
    await page.goto('/');
    assert.match(await mine.textContent(), /corrected/);

    await mine.getByRole('link', { name: /^Delete/ }).click();
    await page.getByRole('link', { name: 'Keep it' }).click();
    await page.getByRole('link', { name: /^Delete/ }).click();
    await page.getByRole('button', { name: 'Delete' }).click();
    await page.getByText('Your post was deleted.').waitFor();
    assert.equal(await mine.count(), 0);

    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText('You are signed out.').waitFor();
    assert.equal(await page.getByLabel('New post').count(), 0);
    await page.goto('/settings');
    assert.equal(new URL(page.url()).pathname, '/login');
    await page.getByLabel('Name').fill(name);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Settings' }).waitFor();
  });
}

visit('wrong passwords are refused, and after some of them everything is', ways.desk, async (page) => {
  const name = await signUp(page);
  await page.getByRole('button', { name: 'Sign out' }).click();
  for (let tried = 0; ; tried += 1) {
    assert.ok(tried < 20, 'wrong passwords may be tried without end');
    await signIn(page, name, 'wrong horse battery');
    await page.getByRole('main').waitFor();
    if (await page.getByRole('heading', { name: 'Too many attempts' }).count()) {
      break;
    }
    assert.match(await page.getByRole('alert').textContent(), /do not go together/);
    assert.equal(await page.getByLabel('Name').inputValue(), name);
    assert.equal(await page.getByLabel('Password').inputValue(), '');
  }
  await inspect(page, 'too-many-attempts');
  assert.equal(await page.getByLabel('Name').inputValue(), name);
});

visit('two presses and a reload are one post', ways.desk, async (page) => {
  const name = await signUp(page);
  await page.goto('/');
  await page.getByLabel('New post').fill(`Twice by ${name}`);
  await page.getByRole('button', { name: 'Post', exact: true }).dblclick();
  await page.getByText('Your post is out.').waitFor();
  await page.reload();
  await page.reload();
  const mine = page.getByRole('article').filter({ hasText: `Twice by ${name}` });
  assert.equal(await mine.count(), 1);
  // Back to the form, and the same once more.
  await page.goBack();
  await page.goto(`/people/${name}`);
  assert.equal(await mine.count(), 1);
});

visit('markup is text', ways.desk, async (page) => {
  await signUp(page);
  page.on('dialog', (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  const hostile = `<img src=x onerror=alert(1)><script>alert(2)</script>"' onmouseover='alert(3)`;
  await write(page, hostile);
  const post = page.getByRole('article').first();
  assert.equal(await post.locator('.text').textContent(), hostile);
  assert.equal(await post.locator('img, script').count(), 0);
  await page.goto('/settings');
  await page.getByLabel('What everyone can read').fill(hostile);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Your page was changed.').waitFor();
  assert.equal(await page.getByLabel('What everyone can read').inputValue(), hostile);
  assert.deepEqual(page.complaints, []);
});

visit('sessions are seen and ended elsewhere', ways.desk, async (page) => {
  const name = await signUp(page);
  const phone = await visitor(browser, ways.phone);
  try {
    await signIn(phone, name);
    await phone.getByText('Welcome!').waitFor();
    await page.goto('/settings');
    const sessions = page.getByRole('region', { name: 'Where you are signed in' }).getByRole('listitem');
    assert.equal(await sessions.count(), 2);
    await inspect(page, 'two-sessions');
    await page.getByRole('button', { name: 'Sign out everywhere else' }).click();
    await page.getByText('Signed out there.').waitFor();
    assert.equal(await sessions.count(), 1);
    // On its way to the replicas for a moment.
    for (let tried = 0; new URL(phone.url()).pathname !== '/login'; tried += 1) {
      assert.ok(tried < 50, 'the other session goes on');
      await phone.goto('/settings');
    }
  } finally {
    await phone.context().close();
  }
});

visit('a session that ended keeps what was typed', ways.desk, async (page) => {
  const name = await signUp(page);
  await page.goto('/');
  await page.getByLabel('New post').fill('Typed before the end');
  if (sessionSeconds) {
    await page.waitForTimeout((sessionSeconds + 1) * 1000);
  } else {
    await page.context().clearCookies({ name: '__Host-session' });
  }
  await page.getByRole('button', { name: 'Post', exact: true }).click();
  await page.getByRole('heading', { name: 'You are signed out' }).waitFor();
  assert.equal(await page.getByLabel('Your post').inputValue(), 'Typed before the end');
  await inspect(page, 'session-ended');

  // Signed in again beside it, the same form is sent.
  const [login] = await Promise.all([
    page.context().waitForEvent('page'),
    page.getByRole('link', { name: /^Sign in/ }).click(),
  ]);
  await login.getByLabel('Name').fill(name);
  await login.getByLabel('Password').fill(password);
  await login.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
  await login.getByText('Welcome!').waitFor();
  await page.getByRole('button', { name: 'Send it again' }).click();
  await page.getByText('Your post is out.').waitFor();
  await page.getByText('Typed before the end').waitFor();
});

visit('it can be used with the keyboard alone', ways.desk, async (page) => {
  await page.goto('/');
  await page.keyboard.press('Tab');
  assert.equal(await page.locator(':focus').textContent(), 'Skip to the content');
  await shot(page, 'skip-link');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Tab');
  const inside = await page.evaluate(() => document.activeElement.closest('main') !== null);
  assert.ok(inside, 'after the skip link comes the content');
  await page.goto('/login');
  await page.getByLabel('Name').focus();
  await page.keyboard.type('nobody-at-all');
  await page.keyboard.press('Tab');
  await page.keyboard.type('wrong horse battery');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').waitFor();
});

visit('cookies are out of reach for scripts and other sites', ways.desk, async (page) => {
  await signUp(page);
  assert.equal(await page.evaluate(() => document.cookie), '');
  const cookies = await page.context().cookies();
  assert.ok(cookies.some(({ name }) => name === '__Host-session'));
  for (const cookie of cookies) {
    assert.ok(cookie.secure && cookie.httpOnly && cookie.sameSite === 'Lax', cookie.name);
  }
});

visit('administrators see who answered', ways.desk, async (page) => {
  if (!admin) {
    return;
  }
  await signIn(page, ...admin);
  await page.goto('/admin');
  for (const tier of ['Web server', 'App server', 'Database']) {
    const name = await page.locator('dt', { hasText: tier }).locator('+ dd').textContent();
    assert.notEqual(name.trim(), '', tier);
  }
  assert.ok(await page.getByRole('row').count() > 1);
  await inspect(page, 'admin');
  await page.setViewportSize(ways.phone.viewport);
  await inspect(page, 'admin-phone');
});

visit('what is not accessible, or too wide, is found', ways.phone, async (page) => {
  await page.setContent('<!doctype html><html lang="en"><title>x</title><main><h1>x</h1><input></main>');
  await assert.rejects(inspect(page, 'inaccessible'), /label/);
  await page.setContent('<!doctype html><html lang="en"><title>x</title>'
    + '<meta name="viewport" content="width=device-width"><main><h1>x</h1>'
    + '<p style="width: 500px">x</p></main>');
  await assert.rejects(inspect(page, 'too-wide'), /wide on a screen/);
});

test('nobody can take a name that is taken', { timeout }, async () => {
  const [one, two] = [await visitor(browser), await visitor(browser)];
  try {
    const name = await signUp(one, someone());
    await two.goto('/signup');
    await two.getByLabel('Name').fill(name.toUpperCase());
    await two.getByLabel('Password').fill(password);
    await two.getByRole('main').getByRole('button', { name: 'Sign up' }).click();
    assert.match(await two.getByRole('alert').textContent(), /taken/);
  } finally {
    await one.context().close();
    await two.context().close();
  }
});

// The last one: databases are not what they were after it.
visit('while nothing can be written everything is read, and what is typed is kept', ways.desk, async (page) => {
  if (!levers) {
    return;
  }
  const name = await signUp(page);
  await write(page, `Before the pause, by ${name}`);
  await page.getByLabel('New post').fill('Typed during the pause');
  const phone = await visitor(browser, ways.nightPhone);
  try {
    await phone.goto('/login');
    await pull('pause');
    const banner = phone.getByRole('status').filter({ hasText: 'Writing is paused: everything can be read' });
    for (let tried = 0; !(await banner.count()); tried += 1) {
      assert.ok(tried < 500, 'nobody is told that writing is paused');
      await phone.goto('/login');
    }
    await inspect(phone, 'paused-sign-in');
    await phone.getByLabel('Name').fill(name);
    await phone.getByLabel('Password').fill(password);
    await phone.getByRole('main').getByRole('button', { name: 'Sign in' }).click();
    await phone.getByRole('heading', { name: 'Writing is paused' }).waitFor();
    await inspect(phone, 'paused-signing-in');
    assert.equal(await phone.getByLabel('Name').inputValue(), name);
    assert.equal(await phone.getByLabel('Password').inputValue(), '');
    await phone.goto('/');
    await phone.getByText(`Before the pause, by ${name}`).waitFor();
    await inspect(phone, 'paused-timeline');
  } finally {
    await phone.context().close();
  }

  await page.getByRole('button', { name: 'Post', exact: true }).click();
  await page.getByRole('heading', { name: 'Writing is paused' }).waitFor();
  assert.equal(await page.getByLabel('Your post').inputValue(), 'Typed during the pause');
  await inspect(page, 'paused-post');

  await pull('resume');
  const again = page.getByRole('button', { name: 'Send it again' });
  const out = page.getByText('Your post is out.');
  for (let tried = 0; !(await out.count()); tried += 1) {
    assert.ok(tried < 500, 'writing does not go on');
    await again.click();
    await again.or(out).first().waitFor();
  }
  const mine = page.getByRole('article').filter({ hasText: 'Typed during the pause' });
  assert.equal(await mine.count(), 1);
});
