// Hands the page so many looks, one after the other, as its server would in as many seconds.
async (count) => {
  const Stream = window.EventSource;
  const source = await new Promise((resolve) => {
    window.EventSource = class extends Stream {
      constructor(...given) {
        super(...given);
        resolve(this);
      }
    };
    document.querySelector("#windows input:not(:checked)").click(); // which has the page open another stream
  });
  window.EventSource = Stream;
  const next = (name) => new Promise((resolve) => source.addEventListener(name, (event) => resolve(JSON.parse(event.data)), { once: true }));
  const [look, history] = await Promise.all([next("snapshot"), next("history")]);
  const give = (name, data) => source.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
  for (let second = 0; second < count; second += 1) {
    const rates = Array.from({ length: 120 }, (_, at) => (second + at) % 5000);
    const latest = look.latest.map((_, at) => look.latest[(second + at) % look.latest.length]);
    give("snapshot", { ...look, rates, latest, stored_per_second: second, status: { ...look.status, stored: second * 5000 } });
    if (second % 5 === 0) give("history", { ...history, at: new Date(Date.parse(history.at) + second).toISOString() });
    if (second % 60 === 0) await new Promise(requestAnimationFrame);
  }
}
