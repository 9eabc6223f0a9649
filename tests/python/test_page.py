"""The page as a browser shows it, light and dark, at 24 and at 400 layers: what is there, what it says to the console, to a
screen reader and to a keyboard. ACTSCOPE_SHOTS=DIR keeps pictures of what was tested."""
import os, re, subprocess, tempfile, unittest

import browser
from test_report_formats import SAMPLE, Page

SHOTS = os.environ.get("ACTSCOPE_SHOTS")
SCHEMES = ("light", "dark")
PROGRAM = browser.find()

# What must hold of every page; returns what does not.
AUDIT = """(function(){
  var bad = [], all = function(q, r) { return [].slice.call((r || document).querySelectorAll(q)) };
  var ids = all('[id]').map(function(e) { return e.id });
  if (new Set(ids).size != ids.length) bad.push('an id appears twice');
  all('svg').forEach(function(s) {
    if (s.getAttribute('aria-hidden') == 'true') return;
    var names = (s.getAttribute('aria-labelledby') || '').split(' ').map(function(i) { return document.getElementById(i) });
    if (s.getAttribute('role') != 'img' || names.length != 2 || names.some(function(e) { return !e || !e.textContent.trim() }))
      bad.push('a figure without words: ' + s.outerHTML.slice(0, 120));
    all('a', s).forEach(function(a) { if (a.tabIndex != -1) bad.push('a stop for the keyboard inside a figure') });
  });
  all('table').forEach(function(t) { if (!t.caption || !t.caption.textContent.trim()) bad.push('a table without caption') });
  all('th').forEach(function(t) { if (!t.scope) bad.push('a th without scope') });
  all('.scroll').forEach(function(e) { if (e.tabIndex != 0 || !e.getAttribute('aria-label')) bad.push('a region the keyboard cannot scroll') });
  all('a[href]').forEach(function(a) {
    if (!document.getElementById(a.getAttribute('href').slice(1))) bad.push('a link to nowhere: ' + a.getAttribute('href')) });
  if (document.documentElement.scrollWidth > innerWidth) bad.push('wider than the window: ' + document.documentElement.scrollWidth);
  all('svg text').forEach(function(t) {
    if (t.closest('details:not([open])')) return;
    var box = t.getBoundingClientRect(), svg = t.ownerSVGElement.getBoundingClientRect();
    if (box.width && (box.left < svg.left - 3 || box.right > svg.right + 3 || box.top < svg.top - 3 || box.bottom > svg.bottom + 3))
      bad.push('text outside of its figure: ' + t.textContent) });
  return bad.slice(0, 10) })()"""

# The least contrast between text and what lies behind it, over one element of each kind.
CONTRAST = """(function(){
  function light(c) { var v = c.match(/[\\d.]+/g).map(Number).slice(0, 3).map(function(x) {
    x /= 255; return x <= .03928 ? x / 12.92 : Math.pow((x + .055) / 1.055, 2.4) }); return .2126 * v[0] + .7152 * v[1] + .0722 * v[2] }
  function back(e) { for (; e; e = e.parentElement) { var c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c } }
  var worst = {};
  ['h1', 'h2', 'p.soft', 'caption', 'thead th', 'tbody td', 'tbody th a', 'summary b', 'summary .soft', 'dt', 'dd', 'svg text', 'button', 'label',
   'output', '.tiles span', 'footer p', '.warn li', 'ol.why li li', '.alarms td', '.last', '.axis'].forEach(function(q) {
    var e = document.querySelector(q); if (!e) return;
    var ink = light(getComputedStyle(e)[e.ownerSVGElement ? 'fill' : 'color']), paper = light(back(e));
    worst[q] = (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05) });
  return worst })()"""


@unittest.skipUnless(PROGRAM, "no Chromium on this machine: the page was not looked at (apt-get install chromium)")
class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.browser = browser.Browser(PROGRAM)
        cls.addClassCleanup(cls.browser.close)

    @classmethod
    def keep(cls, name, text):
        path = os.path.join(cls.folder.name, name)
        with open(path, "wb") as file:
            file.write(text)
        return path

    def ask(self, expression):
        return self.browser.ask(expression)

    def look(self, path, name):
        """Opens a page and checks what must hold of every page: in both schemes, and in a narrow window."""
        self.browser.open(path)
        backs = []
        for scheme in SCHEMES:
            with self.subTest(scheme):
                self.browser.scheme(scheme)
                self.assertEqual(self.ask(AUDIT), [])
                self.assertEqual([what for what, ratio in self.ask(CONTRAST).items() if ratio < 4.5], [], "hard to read")
                backs.append(self.ask("getComputedStyle(document.body).backgroundColor"))
                if SHOTS:
                    self.browser.screenshot(os.path.join(SHOTS, f"{name}-{scheme}.png"))
        self.assertEqual(len(set(backs)), 2, "light and dark look the same")
        self.browser.size(420, 900)
        self.assertLessEqual(self.ask("document.documentElement.scrollWidth"), 420, "a narrow window must scroll sideways")
        self.browser.size(1280, 900)
        self.assertEqual(self.browser.console, [])
        self.assertEqual(self.browser.requests, ["file://" + path], "the page asks for something else")

    def wanted(self, text):
        """Types into the filter; how many rows and details are left, and what it says."""
        self.ask("document.getElementById('words').value='';document.getElementById('words').focus();"
                 "document.getElementById('words').dispatchEvent(new Event('input',{bubbles:true}))")
        self.browser.type(text)
        return self.ask("""[document.querySelectorAll('details[id^=layer-]:not([hidden])').length,
          document.querySelectorAll('#all ~ div tbody tr:not([hidden])').length, document.getElementById('found').textContent]""")


class Report(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = {kind: cls.keep(f"{kind}.html", subprocess.run([SAMPLE, kind, "html"], check=True, capture_output=True).stdout)
                    for kind in ("24", "400", "troubles")}

    def test_24_layers(self):
        self.look(self.path["24"], "report-24")
        self.assertEqual(self.ask("document.querySelectorAll('details[id^=layer-]').length"), 24)
        self.assertEqual(self.ask("document.querySelectorAll('details[open]').length"), 3)
        tree = self.browser.call("Accessibility.getFullAXTree")["nodes"]
        pictures = [n["name"]["value"] for n in tree if n.get("role", {}).get("value") in ("image", "img") and not n["ignored"]]
        self.assertTrue(any("Along the network" in name for name in pictures), pictures)
        self.assertTrue(any("Histogram of |r|" in name for name in pictures), pictures)
        self.assertEqual(len([n for n in tree if n.get("role", {}).get("value") == "rowheader"]), 24)

    def test_400_layers(self):
        self.assertLess(os.path.getsize(self.path["400"]), 5e6)
        self.look(self.path["400"], "report-400")
        self.assertEqual(self.ask("document.querySelectorAll('details[open]').length"), 3, "details are closed but for three")
        # The names below the figure keep clear of each other.
        places = self.ask("[].map.call(document.querySelectorAll('svg.wide text.end.small'),function(t){return t.getCTM().e})")
        self.assertGreater(len(places), 20)
        self.assertGreater(min(b - a for a, b in zip(places, places[1:])), 12)

    def test_filter(self):
        self.browser.open(self.path["400"])
        self.assertEqual(self.wanted("layers.39"), [11, 11, "11 of 400 layers"])
        self.assertEqual(self.wanted("*.12?.CONV"), [5, 5, "5 of 400 layers"])
        self.assertEqual(self.wanted("no (such] layer"), [0, 0, "0 of 400 layers"])
        self.assertEqual(self.wanted(""), [400, 400, "400 of 400 layers"])
        self.ask("document.getElementById('why-only').click()")
        reasons = self.ask("document.getElementById('found').textContent")
        self.assertRegex(reasons, r"^\d+ of 400 layers$")
        self.assertEqual(int(reasons.split()[0]), self.ask("document.querySelectorAll('details[data-why]').length"))
        self.assertTrue(0 < int(reasons.split()[0]) < 400)
        # Opening what is shown opens nothing else; a link to a layer that is not shown brings it back.
        self.ask("document.getElementById('why-only').click()")
        self.wanted("layers.39.")
        self.ask("document.getElementById('close').click();document.getElementById('open').click()")
        self.assertEqual(self.ask("[].map.call(document.querySelectorAll('details[open]'),function(e){return e.id})"), ["layer-39"])
        self.ask("new Promise(function(r){location.hash='layer-7';setTimeout(r,50)})")
        self.assertEqual(self.ask("[document.getElementById('layer-7').open,document.getElementById('layer-7').hidden,document.activeElement.parentNode.id]"),
                         [True, False, "layer-7"])

    def test_keyboard(self):
        b = self.browser
        b.open(self.path["24"])
        focus = "document.activeElement.id||document.activeElement.className||document.activeElement.tagName"
        outline = "getComputedStyle(document.activeElement).outlineStyle+' '+getComputedStyle(document.activeElement).outlineWidth"
        b.press("Tab")
        self.assertEqual(self.ask(focus), "skip")
        self.assertGreaterEqual(self.ask("document.activeElement.getBoundingClientRect().left"), 0)
        b.press("Enter", text="\r")
        self.assertEqual(self.ask(focus), "main")
        stops = []
        for _ in range(12):
            b.press("Tab")
            stops.append(self.ask(focus))
            self.assertRegex(self.ask(outline), r"solid [1-9]", stops[-1])
        self.assertEqual(stops[:4], ["words", "why-only", "open", "close"])
        # A layer's link in the table: Enter opens it, and the next stop is its summary's neighbour, not the top.
        self.ask("document.querySelector('#all ~ div a[href=\"#layer-2\"]').focus()")
        b.press("Enter", text="\r")
        self.ask("new Promise(function(r){setTimeout(r,50)})")
        self.assertEqual(self.ask("[document.activeElement.tagName,document.activeElement.parentNode.id,document.activeElement.parentNode.open]"),
                         ["SUMMARY", "layer-2", True])
        top = self.ask("[document.activeElement.getBoundingClientRect().top,document.getElementById('filter').getBoundingClientRect().bottom]")
        self.assertGreaterEqual(top[0], top[1], "the filter hides what was opened")
        b.press("Enter", text="\r")
        self.assertFalse(self.ask("document.getElementById('layer-2').open"))

    def test_troubles(self):
        self.look(self.path["troubles"], "troubles")

    def test_without_scripts(self):
        self.browser.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            self.browser.open(self.path["24"])
            self.assertEqual(self.ask("[document.querySelectorAll('#all ~ div tbody tr').length,document.getElementById('filter').hidden]"), [24, True])
        finally:
            self.browser.call("Emulation.setScriptExecutionDisabled", value=False)


if __name__ == "__main__":
    unittest.main()
