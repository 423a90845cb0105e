// What is known, one row per token. Sorting and filtering happen here; the server sends only rows that changed.
const COLUMNS = [
  { id: "token", label: "Token", key: (r) => r.symbol },
  { id: "price", label: "Price, USD", num: true, key: (r) => r.price },
  { id: "change", label: "Change", num: true, key: (r) => r.change, hint: "against the previous close" },
  { id: "rsi", label: "RSI(14)", num: true, key: (r) => r.rsi },
  { id: "band", label: "Band position", num: true, key: (r) => r.band, hint: "0 % is the lower Bollinger(20, 2) band, 100 % the upper" },
  { id: "signal", label: "Signal", key: (r) => ({ buy: 0, sell: 1, hold: 2 })[r.signal] ?? 3 },
  { id: "security", label: "Security", key: (r) => ({ danger: 0, unknown: 1, caution: 2, safe: 3, not_applicable: 4 })[r.security] ?? 5 },
  { id: "fresh", label: "Freshness", key: (r) => ({ miss: 0, stale: 1, partial: 2, fresh: 3 })[r.freshness] },
  { id: "asof", label: "As of (UTC)", key: (r) => r.bar_close },
];
const SCREENFUL = 60;
const SIGNAL = { buy: "good", sell: "bad", hold: "" };
const SECURITY = { safe: "good", caution: "warn", danger: "bad", unknown: "warn" };
const FRESHNESS = { fresh: "good", partial: "warn", stale: "warn", miss: "hollow" };

export default {
  template: `
    <div>
      <div class="known-tools" role="search">
        <slot></slot>
        <input class="field" type="search" data-search v-model="text" aria-label="Filter by token or name"
          placeholder="Filter by token or name" @keydown.enter.prevent="openFirst" @keydown.esc="clearOrLeave" />
        <select class="field" v-model="signal" aria-label="Signal">
          <option value="">Any signal</option><option value="buy">Buy</option><option value="sell">Sell</option>
          <option value="hold">Hold</option><option value="none">No signal</option>
        </select>
        <select class="field" v-model="freshness" aria-label="Freshness">
          <option value="">Any freshness</option><option value="fresh">Fresh</option><option value="not">Not fresh</option>
        </select>
        <select class="field" v-model="security" aria-label="Security">
          <option value="">Any security</option><option value="safe">Safe</option><option value="caution">Caution</option>
          <option value="danger">Danger</option><option value="unknown">Unknown or not checked</option>
        </select>
        <select class="field only-phone" v-model="sortBy" aria-label="Sort by">
          <option value="rank">Largest first</option>
          <option v-for="c in columns" :key="c.id" :value="c.id">{{ c.label }}</option>
        </select>
        <span class="count" role="status">{{ counted }}</span>
      </div>
      <div class="known">
        <div v-if="!shown.length" class="empty"><p>No token matches these filters.</p>
          <p><button class="btn small" type="button" @click="reset">Show all</button></p></div>
        <table v-else class="memory">
          <caption class="visually-hidden">Tokens in memory with their newest analysis</caption>
          <thead><tr>
            <th v-for="c in columns" :key="c.id" scope="col" :class="{ num: c.num }" :aria-sort="sortBy === c.id ? (down ? 'descending' : 'ascending') : 'none'">
              <button type="button" :title="c.hint" @click="sort(c)">{{ c.label }}<span class="arrow" aria-hidden="true">{{ down ? "▼" : "▲" }}</span></button>
            </th>
          </tr></thead>
          <tbody>
            <tr v-for="r in drawn" :key="r.symbol" v-memo="[r]" :class="{ changed: r.changed }" :data-symbol="r.symbol" @click="open($event, r)">
              <td class="token"><a :href="r.href" :title="r.name">{{ r.symbol }}</a><span class="name">{{ r.name }}</span></td>
              <td class="num price" data-label="">{{ r.price_text }}</td>
              <td class="num change" data-label="Change" :class="r.change > 0 ? 'good-text' : r.change < 0 ? 'bad-text' : ''">{{ r.change_text }}</td>
              <td class="num rsi" data-label="RSI" :class="r.rsi_note ? 'strong' : ''" :title="r.rsi_note">{{ r.rsi_text }}</td>
              <td class="num band" data-label="Band"><span class="gauge" v-if="r.band !== null">
                <span class="track" aria-hidden="true"><i :class="{ out: r.band < 0 || r.band > 1 }" :style="{ left: place(r.band) }"></i></span>
                <span class="n">{{ r.band_text }}</span></span><template v-else>–</template></td>
              <td class="signal"><span v-if="r.signal" class="badge" :class="[tones.signal[r.signal], { plain: r.signal === 'hold' }]" :title="r.signal_reason">{{ r.signal }}</span><span v-else class="faint" :title="r.signal_reason">no signal</span></td>
              <td class="security"><span v-if="r.security" class="badge" :class="tones.security[r.security] || 'plain'">{{ r.security.replace("_", " ") }}</span><span v-else class="faint">not checked</span></td>
              <td class="fresh"><span class="badge" :class="tones.freshness[r.freshness]" :title="r.why">{{ r.freshness }}</span></td>
              <td class="asof muted" data-label="as of"><span :title="r.computed ? 'computed ' + stamp(r.computed) + ' UTC' : ''">{{ r.bar_close ? stamp(r.bar_close) : "–" }}</span></td>
            </tr>
          </tbody>
        </table>
      </div>
    </div>`,
  props: { rows: Array },
  data() {
    return {
      all: Object.freeze(this.rows.map(Object.freeze)), columns: COLUMNS, text: "", signal: "", freshness: "", security: "",
      sortBy: "rank", down: false, limit: SCREENFUL, tones: { signal: SIGNAL, security: SECURITY, freshness: FRESHNESS },
    };
  },
  computed: {
    shown() {
      const text = this.text.trim().toLowerCase();
      const rows = this.all.filter((r) =>
        (!text || r.symbol.toLowerCase().includes(text) || r.name.toLowerCase().includes(text)) &&
        (!this.signal || (this.signal === "none" ? !r.signal : r.signal === this.signal)) &&
        (!this.freshness || (this.freshness === "fresh") === (r.freshness === "fresh")) &&
        (!this.security || (this.security === "unknown" ? !r.security || r.security === "unknown" : r.security === this.security)));
      const column = COLUMNS.find((c) => c.id === this.sortBy);
      const key = column ? column.key : (r) => r.rank;
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
      return this.shown.length === total ? `${total} tokens` : `${this.shown.length} of ${total} tokens`;
    },
  },
  mounted() {
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
    sort(column) {
      if (this.sortBy !== column.id) { this.sortBy = column.id; this.down = ["price", "change"].includes(column.id); }
      else if (this.down === ["price", "change"].includes(column.id)) this.down = !this.down;
      else { this.sortBy = "rank"; this.down = false; }
    },
    reset() { this.text = this.signal = this.freshness = this.security = ""; },
    clearOrLeave(event) { if (this.text) this.text = ""; else event.target.blur(); },
    open(event, row) {
      if (event.target.closest("a") || window.getSelection().toString()) return;
      event.currentTarget.querySelector("a").click();
    },
    openFirst() { if (this.shown.length) this.$el.querySelector("tbody a").click(); },
    place(band) { return Math.min(100, Math.max(0, band * 100)) + "%"; },
    stamp(seconds) { return window.deeptrader.stamp(seconds); },
  },
};
