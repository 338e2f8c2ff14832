// The page is changed by textContent and attributes alone: no message can become markup.

export const byId = (id) => document.getElementById(id);

// Only what differs is written: an unchanged page is not laid out again.
export function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, wanted) {
  if (node.hidden === wanted) node.hidden = !wanted;
}

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// As many children as there are items, made once and filled anew: the page does not grow.
export function fill(parent, items, create, update) {
  while (parent.children.length > items.length) parent.lastElementChild.remove();
  while (parent.children.length < items.length) parent.append(create());
  items.forEach((item, place) => update(parent.children[place], item));
}

// One request for data; a failure becomes the server's own sentence.
export async function ask(path) {
  let answer;
  try {
    answer = await fetch(path, { headers: { Accept: "application/json" } });
  } catch {
    throw new Error("The dashboard's server does not answer.");
  }
  if (answer.status === 401) location.assign("/login");
  const told = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.`, hint: "" }));
  if (!answer.ok) throw new Error([told.error, told.hint].filter(Boolean).join(" "));
  return told;
}
