/**
 * Keeps the status page up to date: asks for the same page again and again, and takes over what is different. Whatever
 * the reader is at stays: focus, selection, place. Without this script the page is complete, and stands still.
 */

const AFTER_FAILURE_MS = 10_000;
const ANSWER_DEADLINE_MS = 30_000;
/** More than that at once is no news but noise. */
const NEWS_MAX = 5;

const live = found('live');
const news = found('news');
const pause = found('pause');

/** @type {number | undefined} */
let timer;
let isPaused = false;
let isOver = false;

live.hidden = false;
pause.hidden = false;
pause.addEventListener('click', () => {
  isPaused = !isPaused;
  pause.setAttribute('aria-pressed', String(isPaused));
  plan(0);
});
document.addEventListener('visibilitychange', () => {
  plan(0);
});
plan(waitMs());

/** @param {number} delayMs */
function plan(delayMs) {
  clearTimeout(timer);
  if (isOver) return;
  if (isPaused) tell('Paused');
  else if (!document.hidden) {
    timer = setTimeout(() => {
      void look();
    }, delayMs);
    if (delayMs > 0) tell(`Looks again every ${String(waitMs() / 1_000)} s`);
  }
}

async function look() {
  try {
    const answer = await fetch(location.href, {
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
    });
    if (answer.status === 401 || answer.status === 403) {
      isOver = true;
      tell('Not up to date: this host does not let you in any more. Load the page again.');
      return;
    }
    if (!answer.ok) throw new Error(`it answers ${String(answer.status)}`);
    take(new DOMParser().parseFromString(await answer.text(), 'text/html'));
    document.body.classList.remove('stale');
    plan(waitMs());
  } catch (error) {
    document.body.classList.add('stale');
    const why = error instanceof Error ? error.message : String(error);
    plan(AFTER_FAILURE_MS);
    if (!isPaused) tell(`Not up to date (${why}); tried again in ${String(AFTER_FAILURE_MS / 1_000)} s`);
  }
}

/** @param {Document} fresh */
function take(fresh) {
  const before = states();
  document.title = fresh.title;
  for (const id of ['as-of', 'main']) {
    const next = fresh.getElementById(id);
    if (next !== null) become(found(id), next);
  }
  const changed = [...states()].filter(([name, state]) => before.has(name) && before.get(name) !== state);
  if (changed.length === 0) return;
  const told = changed.slice(0, NEWS_MAX).map(([name, state]) => `${name} is ${state}`);
  const others = changed.length - told.length;
  news.textContent = `${told.join(', ')}${others > 0 ? `, and ${String(others)} more have changed` : ''}.`;
}

/** How the volumes and jobs on this page are, by their names. */
function states() {
  /** @type {Map<string, string>} */
  const states = new Map();
  for (const row of document.querySelectorAll('tr[data-name]')) {
    if (row instanceof HTMLElement) states.set(row.dataset['name'] ?? '', row.dataset['state'] ?? '');
  }
  return states;
}

/**
 * Makes `old` what `fresh` is, and touches only what is different: elements with an id are known again by it, all others
 * by where they stand.
 *
 * @param {Element} old
 * @param {Element} fresh
 */
function become(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const same = counterpart(old, at, wanted);
    if (same === undefined) {
      old.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    // An element is not moved if those before it can go instead: moving it would take the focus from it.
    while (at !== null && at !== same && isGone(at, wanted)) at = removed(at);
    if (at !== same) old.insertBefore(same, at);
    if (same instanceof Element && wanted instanceof Element) become(same, wanted);
    else if (same.nodeValue !== wanted.nodeValue) same.nodeValue = wanted.nodeValue;
    at = same.nextSibling;
  }
  while (at !== null) at = removed(at);
}

/**
 * What in `old` is to become `wanted`.
 *
 * @param {Element} old
 * @param {ChildNode | null} at
 * @param {ChildNode} wanted
 * @returns {ChildNode | undefined}
 */
function counterpart(old, at, wanted) {
  const id = wanted instanceof Element ? wanted.id : '';
  if (id !== '') {
    const known = document.getElementById(id);
    return known !== null && known.parentNode === old && known.nodeName === wanted.nodeName
      ? known
      : undefined;
  }
  if (at?.nodeName !== wanted.nodeName) return undefined;
  return at instanceof Element && at.id !== '' ? undefined : at;
}

/**
 * Whether nothing that comes after `wanted` in the fresh page is this.
 *
 * @param {ChildNode} node
 * @param {ChildNode} wanted
 */
function isGone(node, wanted) {
  if (!(node instanceof Element) || node.id === '') return true;
  return wanted.ownerDocument?.getElementById(node.id) === null;
}

/** @param {ChildNode} node */
function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

/** How long the page wants to stand before the next look, in ms. */
function waitMs() {
  const wanted = Number(found('main').dataset['lookAgainMs']);
  return wanted > 0 ? wanted : AFTER_FAILURE_MS;
}

/** @param {string} text */
function tell(text) {
  if (live.textContent !== text) live.textContent = text;
}

/** @param {string} id */
function found(id) {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`the page has no #${id}`);
  return element;
}
