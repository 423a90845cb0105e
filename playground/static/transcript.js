// A conversation: questions, what was done for them, answers with their sources. Text arrives as text, never as markup;
// an answer's HTML was made from escaped markdown on the server and is sanitised here once more.
const FRESHNESS = { fresh: "good", partial: "warn", stale: "warn", miss: "hollow" };

export default {
  template: `
    <div class="turns-scroll" ref="scroll" tabindex="0" role="region" aria-label="Questions and answers" @scroll.passive="noteScroll">
      <div class="turns">
        <article v-for="t in turns" :key="t.id" :aria-busy="t.state === 'running'" :data-state="t.state">
          <div class="ask"><div><span class="visually-hidden">You asked: </span>{{ t.question }}</div></div>
          <details v-if="t.steps.length" class="steps" :open="isOpen(t)" @toggle="toggled(t, $event)">
            <summary><span class="label">{{ t.doing }}</span><span class="secs">{{ seconds(t.steps_seconds) }}</span></summary>
            <ol>
              <li v-for="s in t.steps" :key="s.id" :class="[s.state, { inner: s.inner }]">
                <details v-if="s.asked || s.result" :open="t.steps.length === 1">
                  <summary><span>{{ s.title }}<span v-if="s.by" class="by"> · {{ s.by }}</span></span>
                    <span class="secs">{{ s.state === "running" ? "…" : s.state === "failed" ? "failed" : seconds(s.seconds) }}</span></summary>
                  <template v-if="s.asked"><div class="what">asked with</div><pre tabindex="0">{{ s.asked }}</pre></template>
                  <template v-if="s.result"><div class="what">{{ s.state === "failed" ? "failed with" : "answered" }}</div><pre tabindex="0">{{ s.result }}</pre></template>
                </details>
                <div v-else style="display:flex;gap:8px"><span>{{ s.title }}<span v-if="s.by" class="by"> · {{ s.by }}</span></span><span class="secs">{{ s.state === "running" ? "…" : seconds(s.seconds) }}</span></div>
              </li>
            </ol>
          </details>
          <div v-if="t.state === 'running' && !t.html" class="thinking">{{ t.waiting }}</div>
          <div v-if="t.html" class="answer" :ref="(node) => fill(node, t)"></div>
          <div v-if="t.error" class="trouble" :class="{ mild: t.state === 'stopped' || t.state === 'interrupted' }" role="alert">{{ t.error }} <span class="hint">{{ t.hint }}</span></div>
          <div v-if="t.state !== 'running'" class="after">
            <span v-for="b in t.badges" :key="b.text" :class="b.tone === 'hollow' ? 'absent' : ['badge', b.tone]" :title="b.title">{{ b.text }}</span>
            <span v-if="t.model">{{ t.model }}</span>
            <span v-if="t.tokens !== null">{{ t.tokens.toLocaleString("en") }} tokens</span>
            <span v-if="t.usd !== null">{{ t.usd < 0.0001 ? "<$0.0001" : "$" + t.usd.toFixed(4) }}</span>
            <span v-if="t.seconds !== null">{{ seconds(t.seconds) }}</span>
            <span :title="'asked ' + stamp(t.at) + ' UTC'">{{ stamp(t.at) }} UTC</span>
            <button class="btn small" type="button" :disabled="busy" @click="$emit('retry', t.id)">Ask again</button>
          </div>
          <div v-if="t.suggestions.length" class="instead"><span class="muted">Ask instead:</span>
            <button v-for="s in t.suggestions" :key="s" class="btn small" type="button" :disabled="busy" @click="$emit('ask', s)">{{ s }}</button></div>
          <details v-if="t.sources.length" class="sources" :open="t.sources.length <= 4">
            <summary>{{ t.sources.length === 1 ? "1 source" : t.sources.length + " sources" }}</summary>
            <ul><li v-for="s in t.sources" :key="s.key">
              <a v-if="s.href" :href="s.href">{{ s.symbol }}</a><span v-else class="strong">{{ s.symbol }}</span>
              <span class="badge" :class="tones[s.freshness] || 'plain'" v-if="s.freshness">{{ s.freshness }}</span>
              <span>{{ s.text }}</span>
            </li></ul>
          </details>
        </article>
        <div class="visually-hidden" role="status" aria-live="polite">{{ said }}</div>
      </div>
    </div>`,
  props: { start: Array },
  data() { return { turns: this.start, tones: FRESHNESS, folded: {}, said: "", stick: true }; },
  computed: { busy() { return this.turns.some((t) => t.state === "running"); } },
  mounted() { this.down(); },
  methods: {
    // Called by the server with turns that are new or have changed.
    patch(changed) {
      for (const turn of changed) {
        const place = this.turns.findIndex((t) => t.id === turn.id);
        if (place < 0) { this.turns.push(turn); this.stick = true; }
        else {
          const before = this.turns[place];
          if (before.state === "running" && turn.state !== "running") {
            delete this.folded[turn.id];
            this.said = { done: "The answer is complete.", stopped: "Stopped.", failed: "The answer failed." }[turn.state] || "";
          }
          this.turns[place] = turn;
        }
      }
      this.$nextTick(this.down);
    },
    fill(node, turn) {
      if (!node || node.shown === turn.html) return;
      node.setHTML(turn.html); // NiceGUI's page defines it with DOMPurify
      node.shown = turn.html;
    },
    isOpen(turn) { return this.folded[turn.id] ?? turn.state === "running"; },
    toggled(turn, event) { this.folded[turn.id] = event.target.open; },
    noteScroll() {
      const box = this.$refs.scroll;
      this.stick = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
    },
    down() { if (this.stick && this.$refs.scroll) this.$refs.scroll.scrollTop = this.$refs.scroll.scrollHeight; },
    stamp(seconds) { return window.deeptrader.stamp(seconds); },
    seconds(value) { return value === null || value === undefined ? "" : value < 0.01 ? "<0.01 s" : value < 1 ? value.toFixed(2) + " s" : value.toFixed(1) + " s"; },
  },
};
