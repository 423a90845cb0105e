// Where a question is written. The draft stays in this tab, so that a lost connection or a restart loses nothing.
export default {
  template: `
    <div class="composer">
      <form @submit.prevent="send">
        <label class="visually-hidden" for="question">Your question</label>
        <textarea id="question" ref="box" rows="1" v-model="text" :placeholder="placeholder" maxlength="8000" autocomplete="off"
          @keydown.enter.exact="enter" @input="fit"></textarea>
        <button v-if="running" class="btn danger" type="button" data-stop @click="$emit('stop')">Stop</button>
        <button v-else class="btn primary" type="submit" :disabled="!text.trim()">Send</button>
      </form>
      <div class="foot"><span><kbd>Enter</kbd> sends</span><span><kbd>Shift</kbd> <kbd>Enter</kbd> new line</span><span><kbd>Esc</kbd> stops</span></div>
      <div v-if="waiting" class="foot strong" role="status">Sent as soon as the server can be reached.</div>
    </div>`,
  props: { running: Boolean, placeholder: String, draftKey: String },
  data() { return { text: "", waiting: false }; },
  beforeUnmount() { clearTimeout(this.retry); },
  mounted() {
    try { this.text = sessionStorage.getItem(this.draftKey) || ""; } catch { /* no storage: no draft */ }
    this.$nextTick(this.fit);
    if (!matchMedia("(max-width: 720px)").matches) this.$refs.box.focus({ preventScroll: true });
  },
  watch: {
    text(value) { try { value ? sessionStorage.setItem(this.draftKey, value) : sessionStorage.removeItem(this.draftKey); } catch { /* no storage: no draft */ } },
  },
  methods: {
    enter(event) { if (!event.isComposing) { event.preventDefault(); this.send(); } },
    send() {
      const text = this.text.trim();
      if (!text || this.running) return;
      this.waiting = !(window.socket?.connected && window.did_handshake);
      if (this.waiting) { // sent as soon as the server can be reached; until then it can still be changed
        clearTimeout(this.retry);
        this.retry = setTimeout(this.send, 150);
        return;
      }
      this.$emit("send", text);
      this.text = "";
      this.$nextTick(this.fit);
    },
    fit() {
      const box = this.$refs.box;
      box.style.height = "auto";
      box.style.height = box.scrollHeight + 2 + "px";
    },
    restore(text) { if (!this.text) { this.text = text; this.$nextTick(this.fit); } },
  },
};
