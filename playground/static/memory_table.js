// What is known, one row per token. Sorting and filtering happen here, and stand in the address, so that a reload, going
// back and a link keep them; the server sends only rows that changed.
const COLUMNS = [
  { id: "token", label: "Token", key: (r) => r.symbol, always: true },
  { id: "price", label: "Price, USD", num: true, key: (r) => r.price, always: true },
  { id: "change", label: "Change", num: true, key: (r) => r.change, hint: "against the previous close" },
  { id: "return_7", label: "7 bars", num: true, key: (r) => r.return_7, hint: "change over 7 bars", extra: true },
  { id: "return_30", label: "30 bars", num: true, key: (r) => r.return_30, hint: "change over 30 bars", extra: true },
  { id: "volatility_30", label: "Volatility", num: true, key: (r) => r.volatility_30, hint: "of 30 bars, a year", extra: true },
  { id: "volume_ratio_20", label: "Volume ratio", num: true, key: (r) => r.volume_ratio_20, hint: "the last bar's volume over the mean of 20", extra: true },
  { id: "market_cap", label: "Market cap", num: true, key: (r) => r.market_cap, hint: "in USD, as the market says", extra: true },
  { id: "volume", label: "Volume", num: true, key: (r) => r.volume, hint: "as seen with the price", extra: true },
  { id: "evidence", label: "Evidence", num: true, key: (r) => r.evidence, hint: "of the rule that calls it now: how often such calls came true", extra: true },
  { id: "rsi", label: "RSI(14)", num: true, key: (r) => r.rsi },
  { id: "band", label: "Band position", num: true, key: (r) => r.band, hint: "0 % is the lower Bollinger(20, 2) band, 100 % the upper" },
  { id: "signal", label: "Signal", key: (r) => ({ buy: 0, sell: 1, hold: 2 })[r.signal] ?? 3 },
  { id: "security", label: "Security", key: (r) => ({ danger: 0, unknown: 1, caution: 2, safe: 3, not_applicable: 4 })[r.security] ?? 5 },
  { id: "fresh", label: "Freshness", key: (r) => ({ miss: 0, stale: 1, partial: 2, fresh: 3 })[r.freshness] },
  { id: "asof", label: "As of", key: (r) => r.bar_close },
];
const USUAL = COLUMNS.filter((c) => !c.extra).map((c) => c.id);
const FILTERS = ["q", "only", "signal", "fresh", "security"];
const FALLING = ["price", "change", "return_7", "return_30", "volatility_30", "volume_ratio_20", "market_cap", "volume", "evidence"];
const SCREENFUL = 60;
const SCREENS = "deeptrader-screens";
const SIGNAL = { buy: "good", sell: "bad", hold: "" };
const SECURITY = { safe: "good", caution: "warn", danger: "bad", unknown: "warn" };
const FRESHNESS = { fresh: "good", partial: "warn", stale: "warn", miss: "hollow" };

export default {
  template: `
    <div>
      <div class="known-tools" role="search" :class="{ open: unfolded }">
        <slot></slot>
        <input class="field" type="search" data-search v-model="f.q" aria-label="Filter by token or name"
          placeholder="Filter by token or name" @keydown.enter.prevent="openFirst" @keydown.esc="clearOrLeave" />
        <button class="btn only-phone" type="button" :aria-expanded="unfolded" @click="unfolded = !unfolded">Filters{{ filtered ? " ·" : "" }}</button>
        <select class="field fold" v-model="f.only" aria-label="Which tokens">
          <option value="">All tokens</option><option value="watched">Watched</option><option value="held">Held</option>
        </select>
        <select class="field fold" v-model="f.signal" aria-label="Signal">
          <option value="">Any signal</option><option value="buy">Buy</option><option value="sell">Sell</option>
          <option value="hold">Hold</option><option value="none">No signal</option>
        </select>
        <select class="field fold" v-model="f.fresh" aria-label="Freshness">
          <option value="">Any freshness</option><option value="fresh">Fresh</option><option value="not">Not fresh</option>
        </select>
        <select class="field fold" v-model="f.security" aria-label="Security">
          <option value="">Any security</option><option value="safe">Safe</option><option value="caution">Caution</option>
          <option value="danger">Danger</option><option value="unknown">Unknown or not checked</option>
        </select>
        <select class="field fold only-phone" v-model="sortBy" aria-label="Sort by">
          <option value="rank">Largest first</option>
          <option v-for="c in all_columns" :key="c.id" :value="c.id">{{ c.label }}</option>
        </select>
        <details class="columns fold" @keydown.esc="$event.currentTarget.open = false">
          <summary class="btn">Columns</summary>
          <fieldset><legend class="visually-hidden">Columns</legend>
            <label v-for="c in choosable" :key="c.id"><input type="checkbox" :value="c.id" v-model="chosen" /> {{ c.label }}</label>
            <button class="btn small" type="button" @click="chosen = usual">As usual</button></fieldset>
        </details>
        <select v-if="names.length" class="field fold" :value="screen" aria-label="Saved screens" @change="show($event.target.value)">
          <option value="">Saved screens</option><option v-for="n in names" :key="n" :value="n">{{ n }}</option>
        </select>
        <button v-if="screen" class="btn fold" type="button" @click="forget">Forget screen</button>
        <button v-else-if="query" class="btn fold" type="button" @click="keep">Save screen</button>
        <button v-if="filtered" class="btn quiet" type="button" @click="reset">Show all</button>
        <span class="count" role="status">{{ counted }}</span>
      </div>
      <div class="known">
        <div v-if="!shown.length" class="empty"><p>No token matches these filters.</p>
          <p v-if="f.only">{{ f.only === "watched" ? "A star beside a token puts it on the watch list." : "What is held is kept under Portfolio." }}</p>
          <p><button class="btn small" type="button" @click="reset">Show all</button></p></div>
        <table v-else class="memory">
          <caption class="visually-hidden">Tokens in memory with their newest analysis</caption>
          <thead><tr>
            <th scope="col" class="star"><span class="visually-hidden">Watched</span></th>
            <th v-for="c in columns" :key="c.id" scope="col" :class="{ num: c.num }" :aria-sort="sortBy === c.id ? (down ? 'descending' : 'ascending') : 'none'">
              <button type="button" :title="c.hint" @click="sort(c)">{{ c.label }}<span class="arrow" aria-hidden="true">{{ down ? "▼" : "▲" }}</span></button>
            </th>
          </tr></thead>
          <tbody>
            <tr v-for="r in drawn" :key="r.symbol" v-memo="[r, chosen]" :class="{ changed: r.changed }" :data-symbol="r.symbol" @click="open($event, r)">
              <td class="star"><button type="button" :aria-pressed="!!r.watched" :aria-label="'Watch ' + r.symbol" @click.stop="star(r)">{{ r.watched ? "★" : "☆" }}</button></td>
              <td class="token"><a :href="r.href" :title="r.name">{{ r.symbol }}</a><span v-if="r.held" class="badge plain">held</span><span class="name">{{ r.name }}</span></td>
              <td class="num price" data-label="">{{ r.price_text }}</td>
              <td v-if="has('change')" class="num change" data-label="Change" :class="tone(r.change)">{{ r.change_text }}</td>
              <template v-for="c in extras" :key="c.id"><td class="num extra" :data-label="c.label" :class="c.id.startsWith('return') ? tone(r[c.id]) : ''" :title="r[c.id + '_note']">{{ r[c.id + "_text"] }}</td></template>
              <td v-if="has('rsi')" class="num rsi" data-label="RSI" :class="r.rsi_note ? 'strong' : ''" :title="r.rsi_note">{{ r.rsi_text }}</td>
              <td v-if="has('band')" class="num band" data-label="Band"><span class="gauge" v-if="r.band !== null">
                <span class="track" aria-hidden="true"><i :class="{ out: r.band < 0 || r.band > 1 }" :style="{ left: place(r.band) }"></i></span>
                <span class="n">{{ r.band_text }}</span></span><template v-else>–</template></td>
              <td v-if="has('signal')" class="signal"><span v-if="r.signal" class="badge" :class="[tones.signal[r.signal], { plain: r.signal === 'hold' }]" :title="r.signal_reason">{{ r.signal }}</span><span v-else class="faint" :title="r.signal_reason">no signal</span></td>
              <td v-if="has('security')" class="security"><span v-if="r.security" class="badge" :class="tones.security[r.security] || 'plain'">{{ r.security.replace("_", " ") }}</span><span v-else class="faint">not checked</span></td>
              <td v-if="has('fresh')" class="fresh"><span class="badge" :class="tones.freshness[r.freshness]" :title="r.why">{{ r.freshness }}</span></td>
              <td v-if="has('asof')" class="asof muted" data-label="as of"><span :title="r.computed ? 'computed ' + stamp(r.computed) + ' UTC' : ''">{{ r.bar_close ? stamp(r.bar_close) + " UTC" : "–" }}</span></td>
            </tr>
          </tbody>
        </table>
      </div>
    </div>`,
  props: { rows: Array },
  data() {
    return {
      all: Object.freeze(this.rows.map(Object.freeze)), all_columns: COLUMNS, usual: USUAL, unfolded: false, limit: SCREENFUL,
      screens: {}, tones: { signal: SIGNAL, security: SECURITY, freshness: FRESHNESS }, ...this.read(location.search),
    };
  },
  computed: {
    shown() {
      const f = this.f, text = f.q.trim().toLowerCase();
      const rows = this.all.filter((r) =>
        (!text || r.symbol.toLowerCase().includes(text) || r.name.toLowerCase().includes(text)) &&
        (!f.only || r[f.only]) &&
        (!f.signal || (f.signal === "none" ? !r.signal : r.signal === f.signal)) &&
        (!f.fresh || (f.fresh === "fresh") === (r.freshness === "fresh")) &&
        (!f.security || (f.security === "unknown" ? !r.security || r.security === "unknown" : r.security === f.security)));
      const column = COLUMNS.find((c) => c.id === this.sortBy);
      const key = column ? column.key : this.f.only === "watched" ? (r) => r.watched : (r) => r.rank;
      const sign = this.down ? -1 : 1;
      return rows.sort((a, b) => {
        const x = key(a), y = key(b);
        if (x === y) return a.rank - b.rank;
        if (x === null || x === undefined) return 1; // what is absent comes last, whichever way
        if (y === null || y === undefined) return -1;
        return (x < y ? -1 : 1) * sign;
      });
    },
    drawn() { return this.shown.length > this.limit ? this.shown.slice(0, this.limit) : this.shown; },
    counted() {
      const total = this.all.length;
      return this.shown.length === total ? `${total} token${total === 1 ? "" : "s"}` : `${this.shown.length} of ${total} tokens`;
    },
    choosable() { return COLUMNS.filter((c) => !c.always); },
    columns() { return COLUMNS.filter((c) => c.always || this.has(c.id)); },
    extras() { return COLUMNS.filter((c) => c.extra && this.has(c.id)); },
    filtered() { return FILTERS.some((name) => this.f[name]); },
    names() { return Object.keys(this.screens).sort(); },
    screen() { return this.names.find((name) => this.screens[name] === this.query) || ""; },
    query() {
      const found = new URLSearchParams(FILTERS.filter((name) => this.f[name]).map((name) => [name, this.f[name]]));
      if (this.sortBy !== "rank") found.set("sort", (this.down ? "-" : "") + this.sortBy);
      const columns = COLUMNS.filter((c) => !c.always && this.has(c.id)).map((c) => c.id).join(" ");
      if (columns !== USUAL.filter((id) => !COLUMNS.find((c) => c.id === id).always).join(" ")) found.set("columns", columns);
      return found.toString();
    },
  },
  watch: { query() { this.write(); } },
  mounted() {
    try { this.screens = JSON.parse(localStorage.getItem(SCREENS)) || {}; } catch { /* no storage: no saved screens */ }
    this.write();
    // The first screenful at once, the rest while nobody waits for it.
    const more = () => {
      if (this.limit >= this.all.length) return;
      this.limit += 4 * SCREENFUL;
      setTimeout(more, 30);
    };
    setTimeout(more, 50);
  },
  methods: {
    // Called by the server: rows that changed, symbols that are gone.
    patch(changed, gone) {
      const news = new Map(changed.map((r) => [r.symbol, r]));
      const left = new Set(gone);
      const rows = [];
      for (const old of this.all) {
        if (left.has(old.symbol)) continue;
        const row = news.get(old.symbol);
        if (row) {
          news.delete(old.symbol);
          row.changed = ["price_text", "bar_close", "signal", "security", "freshness", "computed"].some((k) => row[k] !== old[k]);
          rows.push(Object.freeze(row));
        } else rows.push(old);
      }
      for (const row of news.values()) rows.push(Object.freeze({ ...row, changed: true }));
      this.limit = Math.max(this.limit, rows.length);
      this.all = Object.freeze(rows);
    },
    // What an address says of filters, sorting and columns.
    read(search) {
      const asked = new URLSearchParams(search), sort = asked.get("sort") || "rank";
      const columns = asked.has("columns") ? asked.get("columns").split(" ") : USUAL;
      return {
        f: Object.fromEntries(FILTERS.map((name) => [name, asked.get(name) || ""])),
        sortBy: sort.replace(/^-/, ""), down: sort.startsWith("-"), chosen: columns,
      };
    },
    write() {
      const kept = new URLSearchParams(location.search).get("interval");
      const parts = [kept ? `interval=${kept}` : "", this.query].filter(Boolean).join("&");
      if (location.pathname === "/known") history.replaceState(history.state, "", "/known" + (parts ? "?" + parts : ""));
      for (const link of this.$el.querySelectorAll(".segments a")) {
        const interval = new URL(link.href).searchParams.get("interval");
        link.href = `/known?interval=${interval}` + (this.query ? "&" + this.query : "");
      }
    },
    show(name) { Object.assign(this, this.read(this.screens[name] || "")); },
    keep() {
      const name = (window.prompt("Name of this screen") || "").trim().slice(0, 40);
      if (name) this.store({ ...this.screens, [name]: this.query });
    },
    forget() { this.store(Object.fromEntries(Object.entries(this.screens).filter(([name]) => name !== this.screen))); },
    store(screens) {
      this.screens = screens;
      try { localStorage.setItem(SCREENS, JSON.stringify(screens)); } catch { /* no storage: until this page is left */ }
    },
    star(row) { this.$emit("star", { symbol: row.symbol, on: !row.watched }); },
    sort(column) {
      const falling = FALLING.includes(column.id);
      if (this.sortBy !== column.id) { this.sortBy = column.id; this.down = falling; }
      else if (this.down === falling) this.down = !this.down;
      else { this.sortBy = "rank"; this.down = false; }
    },
    has(id) { return this.chosen.includes(id); },
    reset() { for (const name of FILTERS) this.f[name] = ""; },
    clearOrLeave(event) { if (this.f.q) this.f.q = ""; else event.target.blur(); },
    open(event, row) {
      if (event.target.closest("a") || window.getSelection().toString()) return;
      event.currentTarget.querySelector("a").click();
    },
    openFirst() { if (this.shown.length) this.$el.querySelector("tbody a").click(); },
    tone(change) { return change > 0 ? "good-text" : change < 0 ? "bad-text" : ""; },
    place(band) { return Math.min(100, Math.max(0, band * 100)) + "%"; },
    stamp(seconds) { return window.deeptrader.stamp(seconds); },
  },
};
