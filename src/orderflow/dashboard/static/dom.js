// The page is changed only by textContent and attributes, so that no message can become markup.

export const byId = (id) => document.getElementById(id);

// Writes only changed text, so that an unchanged page needs no new layout.
export function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, isVisible) {
  if (node.hidden === isVisible) node.hidden = !isVisible;
}

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Creates or removes children until there is one for each item. Children are reused, so that the page does not grow.
export function fill(parent, items, create, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  while (parent.children.length < items.length) parent.append(create());
  items.forEach((item, index) => update(parent.children[index], item));
}

// Numbers that JavaScript would round, such as long customer ids, become texts where the browser supports it.
export const parse = (text) =>
  JSON.parse(text, (_, value, context) => (Number.isInteger(value) && !Number.isSafeInteger(value) && context?.source ? context.source : value));

// Requests JSON data. On an error, throws the error message and hint of the server.
export async function fetchJson(path) {
  let response;
  try {
    response = await fetch(path, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error("The dashboard's server does not answer.");
  }
  if (response.status === 401) location.assign("/login");
  const data = await response.text().then(parse).catch(() => ({ error: `The server answered ${response.status}.`, hint: "" }));
  if (!response.ok || data.error) throw new Error([data.error, data.hint].filter(Boolean).join(" "));
  return data;
}
