// Sends this number of updates to the page at once, as its server would within as many seconds.
async (count) => {
  const Stream = window.EventSource;
  const source = await new Promise((resolve) => {
    window.EventSource = class extends Stream {
      constructor(...parameters) {
        super(...parameters);
        resolve(this);
      }
    };
    document.querySelector("#windows input:not(:checked)").click(); // the page then opens another stream
  });
  window.EventSource = Stream;
  const next = (name) => new Promise((resolve) => source.addEventListener(name, (event) => resolve(JSON.parse(event.data)), { once: true }));
  const [snapshot, history] = await Promise.all([next("snapshot"), next("history")]);
  const send = (name, data) => source.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
  for (let second = 0; second < count; second += 1) {
    const rates = Array.from({ length: 120 }, (_, index) => (second + index) % 5000);
    const latest = snapshot.latest.map((_, index) => snapshot.latest[(second + index) % snapshot.latest.length]);
    send("snapshot", { ...snapshot, rates, latest, stored_per_second: second, status: { ...snapshot.status, stored: second * 5000 } });
    if (second % 5 === 0) send("history", { ...history, at: new Date(Date.parse(history.at) + second).toISOString() });
    if (second % 60 === 0) await new Promise(requestAnimationFrame);
  }
}
