// Keep the page current: ask for its live part again when the journal grows, and once a minute for the times that it tells.
(() => {
  "use strict";
  const live = document.getElementById("live");
  if (!live) return;
  const model = live.dataset.model;
  let head = null, busy = false, again = false;

  function said(text) {
    const place = document.getElementById("connection");
    if (place) place.textContent = text;
  }

  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { "x-fragment": "1" }, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      const opened = [...live.querySelectorAll("details[open]")].map((one) => one.id);
      live.innerHTML = text;
      for (const id of opened) {
        const one = id && document.getElementById(id);
        if (one) one.open = true;
      }
      said(", live");
    } catch {
      said(": the page does not answer, and this may be old");
    } finally {
      busy = false;
      if (again) { again = false; refresh(); }
    }
  }

  const source = new EventSource("/events");
  source.onmessage = (event) => {
    const heads = JSON.parse(event.data);
    const mine = model ? heads[model] : JSON.stringify(heads);
    if (head !== null && mine !== head) refresh(); else said(", live");
    head = mine;
  };
  source.onerror = () => said(": the connection is lost, and this may be old");
  setInterval(refresh, 60000);

  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    const question = button && button.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });
})();
