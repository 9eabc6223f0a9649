"""The page as a browser shows it, light and dark, at 24 and at 400 layers: what is there, what it says to the console, to a
screen reader and to a keyboard. ACTSCOPE_SHOTS=DIR keeps pictures of what was tested."""
import json, math, os, pathlib, re, subprocess, tempfile, unittest

import numpy as np

import browser, runs
from test_package import PROGRAM as ACTSCOPE, actscope
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
    browser = None  # one for all of them

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        if not Case.browser:
            Case.browser = browser.Browser(PROGRAM)
            unittest.addModuleCleanup(Case.browser.close)

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
        self.assertTrue(any("Values by magnitude" in name for name in pictures), pictures)
        # The bars of a layer are its values, all of them.
        bars = self.ask("[].map.call(document.querySelectorAll('[aria-labelledby^=buckets-0-] rect title'),function(t){return t.textContent})")
        self.assertGreater(len(bars), 20)
        shares = [float(share) for title in bars for share in re.findall(r"\(<?([0-9.]+)%\)", title)]
        self.assertGreater(sum(shares), 45, bars)
        self.assertLess(sum(shares), 101, bars)
        self.assertEqual(len([n for n in tree if n.get("role", {}).get("value") == "rowheader"]), 24)
        # Labels of a table leave out the same in all rows, and its caption says what.
        labels = self.ask("[].map.call(document.querySelectorAll('#all ~ div tbody th a'),function(a){return a.textContent})")
        self.assertEqual(sorted(labels, key=lambda s: int(s.split(".")[0])), [f"{k}.conv" if k % 2 == 0 else f"{k}.mlp.down_proj" for k in range(24)])
        self.assertIn("; names without encoder.layers.", self.ask("document.querySelector('#all ~ div caption').textContent"))
        # What is written in a figure is not much smaller than the rest where the window is narrow.
        self.browser.size(400, 900)
        self.assertGreater(self.ask("document.querySelector('details[open] svg.figure text').getBoundingClientRect().height"), 10)
        self.assertLessEqual(self.ask("document.documentElement.scrollWidth"), 400)
        self.browser.size(1280, 900)

    def test_400_layers(self):
        self.assertLess(os.path.getsize(self.path["400"]), 5e6)
        self.look(self.path["400"], "report-400")
        self.assertEqual(self.ask("document.querySelectorAll('details[open]').length"), 3, "details are closed but for three")
        # The names below the figure keep clear of each other.
        places = self.ask("[].map.call(document.querySelectorAll('svg.wide text.end.small'),function(t){return t.getCTM().e})")
        self.assertGreater(len(places), 20)
        self.assertGreater(min(b - a for a, b in zip(places, places[1:])), 12)

    def test_filter(self):
        self.browser.open(self.path["24"])
        self.assertEqual(self.wanted("layers.1.")[2], "1 of 24 layers")
        self.assertEqual(self.wanted("*.1?.CONV"), [5, 5, "5 of 24 layers"])
        self.assertEqual(self.wanted("no (such] layer"), [0, 0, "0 of 24 layers"])
        self.assertEqual(self.wanted(""), [24, 24, "24 of 24 layers"])
        self.ask("document.getElementById('why-only').click()")
        reasons = self.ask("document.getElementById('found').textContent")
        self.assertRegex(reasons, r"^\d+ of 24 layers$")
        self.assertEqual(int(reasons.split()[0]), self.ask("document.querySelectorAll('details[data-why]').length"))
        self.assertTrue(0 < int(reasons.split()[0]) < 24)
        # Opening what is shown opens nothing else; a link to a layer that is not shown brings it back.
        self.ask("document.getElementById('why-only').click()")
        self.assertEqual(self.wanted("layers.19.")[2], "1 of 24 layers")
        self.ask("document.getElementById('close').click();document.getElementById('open').click()")
        self.assertEqual(self.ask("[].map.call(document.querySelectorAll('details[open]'),function(e){return e.id})"), ["layer-19"])
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


class Alike(Case):
    """The map of CKA."""

    def pages(self, count):
        """A page of as many layers, each made of the one before; the sixth is constant. And its numbers."""
        random = np.random.default_rng(count)
        x, layers = random.normal(size=(24, 16)), {}
        for i in range(count):
            x = np.tanh(x @ random.normal(size=(16, 16)) / 3 + 0.2 * random.normal(size=(24, 16)))
            layers[f"blocks.{i}.mlp"] = np.float32(x if i != 5 else np.ones_like(x))
        data = os.path.join(self.folder.name, f"alike{count}.npz")
        np.savez(data, **layers)
        made = [subprocess.run([ACTSCOPE, "report", "-q", "--statistics", "cka,profile", "--format", form, data],
                               check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}).stdout for form in ("html", "json")]
        return self.keep(f"alike{count}.html", made[0]), json.loads(made[1])["network"]["cka"]["matrix"]

    def drawn(self, count):
        """The level of each cell as the map has it; None where there is none."""
        paths = self.ask("[].map.call(document.getElementById('alike').parentNode.querySelectorAll('.heat path'),function(p){return [p.getAttribute('class'),p.getAttribute('d')]})")
        cells = [[None] * count for _ in range(count)]
        for kind, path in paths:
            for x, y, n in re.findall(r"M(\d+) (\d+)h(\d+)", path):
                for k in range(int(x), int(x) + int(n)):
                    self.assertIsNone(cells[int(y)][k], "a cell is drawn twice")
                    cells[int(y)][k] = int(kind[1:])
        return cells

    def test_the_map_is_the_matrix(self):
        for count in (24, 400):
            with self.subTest(count):
                path, matrix = self.pages(count)
                self.assertLess(os.path.getsize(path), 4.5e6)
                if count == 24:
                    self.look(path, f"alike-{count}")
                else:
                    self.browser.open(path)
                wanted = [[None if v is None else min(8, max(0, math.floor(v * 9))) for v in row] for row in matrix]
                self.assertEqual(self.drawn(count), wanted)
                self.assertEqual(wanted[5], [None] * count)
                if SHOTS:
                    self.ask("document.getElementById('alike').scrollIntoView()")
                    self.browser.screenshot(os.path.join(SHOTS, f"map-{count}.png"))
                box = self.ask("(function(b){return [b.width,b.height]})(document.querySelector('.heat').getBoundingClientRect())")
                self.assertAlmostEqual(box[0] / count, box[1] / (count - 1), delta=0.1)  # strokes are lines without a height
                self.assertGreater(box[0] / count, 1.5, "pixels of a layer")
                numbers = self.ask("document.querySelectorAll('#alike ~ details tbody td').length")
                self.assertEqual(numbers, count * count if count == 24 else 0)

    def test_of_a_run(self):
        record, later = runs.records(runs.layers(24), 2)
        record = runs.with_cka(record)
        stream = runs.write(os.path.join(self.folder.name, "alike.jsonl"), [record, later])
        page = os.path.join(self.folder.name, "alike-run.html")
        subprocess.run([ACTSCOPE, "page", "-o", page, stream], check=True)
        self.look(page, "alike-run")
        matrix = [row[::-1] for row in record["cka"]["matrix"][::-1]]
        self.assertEqual(self.drawn(18), [[None if v is None else min(8, max(0, math.floor(v * 9))) for v in row] for row in matrix])

    def test_without(self):
        self.browser.open(self.keep("none.html", subprocess.run([SAMPLE, "24", "html"], check=True, capture_output=True).stdout))
        self.assertFalse(self.ask("!!document.getElementById('alike')"))


# Of each layer, by its name: the rows of its lists as texts, and the sentences under them.
LISTS = """(function(){ var found = {};
  [].forEach.call(document.querySelectorAll('details[id^=layer-]'), function(d) {
    found[d.querySelector('summary b').textContent] = [].map.call(d.querySelectorAll('.lists > div'), function(part) {
      return [[].map.call(part.querySelectorAll('tbody tr'), function(r) { return [].map.call(r.cells, function(c) { return c.textContent }) }),
              [].map.call(part.querySelectorAll('p'), function(p) { return p.textContent })] }) });
  return found })()"""


class Lists(Case):
    """The pairs with the largest |r| and the features that are most correlated."""
    ASKED = ("--top-pairs", "30", "--pairs-above", "0.2", "--top-features", "25")

    def test_of_files(self):
        random = np.random.default_rng(4)
        mixed = np.float32(random.normal(size=(40, 3, 5, 2)) + random.normal(size=(40, 1, 1, 1)))
        mixed[:, 1, 2:] = 0.25
        data = os.path.join(self.folder.name, "lists.npz")
        np.savez(data, mixed=mixed, dead=np.zeros((40, 6), np.float32))
        html, text = (subprocess.run([ACTSCOPE, "report", "-q", *self.ASKED, "--format", form, data], check=True, capture_output=True).stdout
                      for form in ("html", "json"))
        self.look(self.keep("lists.html", html), "lists")
        shown, wanted = self.ask(LISTS), json.loads(text)["layers"]
        self.assertEqual(list(shown), ["mixed", "dead"])
        (pairs, above), (features, without) = shown["mixed"]
        place = lambda f: "({},{},{})".format(*np.unravel_index(f, (3, 5, 2)))
        c = wanted[0]["correlation"]
        self.assertEqual(pairs, [[f"{p['r']:.4f}", place(p["i"]), place(p["j"])] for p in c["top_pairs"][:20]])
        self.assertEqual(above, ["and 10 more: see --format json.", f"{c['pairs_above']} pairs above 0.2."])
        self.assertEqual(features, [[f"{f['mean_abs']:.3f}", f"{f['max_abs']:.3f}", place(f["feature"])] for f in c["top_features"][:20]])
        self.assertEqual(without, ["and 4 more: see --format json.", "Features: 6 without a pair (constant or not finite): "
                                   "(1,2,0), (1,2,1), (1,3,0), (1,3,1), (1,4,0), (1,4,1)"])
        self.assertEqual(shown["dead"], [[[], ["No pairs above 0.2."]], [[], ["Features: 6 without a pair (constant or not finite): 0, 1, 2, 3, 4, 5"]]])
        # Nothing where nothing was asked for.
        self.browser.open(self.keep("none.html", subprocess.run([ACTSCOPE, "report", "-q", "--format", "html", data], check=True, capture_output=True).stdout))
        self.assertEqual(self.ask(LISTS), {"mixed": [], "dead": []})

    def test_of_a_run(self):
        first = runs.layers(4, top_pairs=3, top_features=2)
        stream = runs.write(os.path.join(self.folder.name, "lists.jsonl"), runs.records(first, 3))
        path = actscope.html(stream, os.path.join(self.folder.name, "run.html"))
        self.look(path, "run-lists")
        shown = self.ask(LISTS)
        for layer, (name, lists) in zip(first, shown.items()):
            c = layer["correlation"]
            self.assertEqual(name, layer["name"] + (".gradient" if layer["kind"] == "gradient" else ""))
            self.assertEqual(lists[0][0], [[f"{p['r']:.4f}", str(p["i"]), str(p["j"])] for p in c["top_pairs"]])
            self.assertEqual(lists[1][0], [[f"{f['mean_abs']:.3f}", f"{f['max_abs']:.3f}", str(f["feature"])] for f in c["top_features"]])
            self.assertEqual(lists[1][1], ["Features: " + f"{c['pairless_features']['count']} without a pair (constant or not finite): "
                                           + ", ".join(map(str, c["pairless_features"]["first"]))] if c["pairless_features"]["count"] else [])
        self.assertEqual(len(shown), 4)

    def test_numbers_that_were_not_asked_for(self):
        """Have no line, and numbers with long names stay in their column."""
        data = os.path.join(self.folder.name, "asked.npz")
        np.savez(data, x=np.float32(np.random.default_rng(2).normal(size=(30, 8))))
        for words, there in ((("--compat", "neuroexapt"), False), (("--signed", "--split-half", "--null", "shift"), True)):
            self.browser.open(self.keep("asked.html", subprocess.run([ACTSCOPE, "report", "-q", "--format", "html", *words, data], check=True,
                                                                     capture_output=True).stdout))
            names = self.ask("[].map.call(document.querySelectorAll('.numbers dt'),function(t){return t.textContent})")
            self.assertEqual(names.count("mean"), 1 + there)
            for name in ("split half", "split half rms", "noise floor shift"):
                self.assertEqual(name in names, there)
            self.assertEqual("information flow bottlenecks" in names, not there)
            for width in (1280, 420):
                self.browser.size(width, 900)
                self.assertEqual(self.ask("""[].filter.call(document.querySelectorAll('.numbers dd'),function(d){
                  return d.getBoundingClientRect().right>d.closest('.numbers > div').getBoundingClientRect().right+1}).length"""), 0)


class Run(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.path = {}
        for count, steps in ((24, 60), (400, 12)):
            stream = runs.write(os.path.join(cls.folder.name, f"run{count}.jsonl"), runs.records(runs.layers(count), steps, bad={50: 2, 70: 3}))
            cls.path[count] = os.path.join(cls.folder.name, f"run{count}.html")
            subprocess.run([ACTSCOPE, "page", "-o", cls.path[count], stream], check=True)

    def test_24_layers(self):
        self.look(self.path[24], "run-24")
        self.assertEqual(self.ask("[].map.call(document.querySelectorAll('.alarms tbody tr'),function(r){return r.innerText.split('\\t').join(' ')})"),
                         ["50 encoder.layers.2.mlp.down activation 3 1", "70 encoder.layers.2.mlp.down gradient 3 1"])
        self.assertEqual(self.ask("document.querySelectorAll('.sparks tbody tr').length"), 24)
        # Marks stand where the step is: 50 of 590, with the margins that lines have.
        marks = self.ask("""[].map.call(document.querySelectorAll('.sparks tr'),function(r){var m=r.querySelector('.l-bad');
          return m?r.querySelector('a').title+' '+m.getAttribute('d'):''}).filter(Boolean).filter(function(d,i,a){return a.indexOf(d)==i})""")
        at = lambda step: f"M{round(4 + step / 590 * 992)} 0v200"
        self.assertEqual(sorted(marks), ["encoder.layers.2.mlp.down " + at(50), "encoder.layers.2.mlp.down.gradient " + at(70)])
        self.assertEqual(self.ask("document.querySelectorAll('svg.wide path.h9').length"), 2, "in the map and in its scale")
        # The layer's own figures use the lines of the table, and show something.
        box = self.ask("(function(){var u=document.querySelector('details[open] .chart use');return [u.getBoundingClientRect().width,u.getBoundingClientRect().height]})()")
        self.assertTrue(box[0] > 200 and box[1] > 2, box)
        names = self.ask("[].map.call(document.querySelectorAll('details[open] figcaption'),function(f){return f.firstChild.textContent.trim()})")
        self.assertEqual(names[:5], ["|r| of features", "dead features", "size of the values", "redundancy", "effective rank"])

    def test_400_layers(self):
        self.assertLess(os.path.getsize(self.path[400]), 7e6)
        self.look(self.path[400], "run-400")
        self.assertEqual(self.ask("document.querySelectorAll('details[open]').length"), 3)
        shown = self.ask("[].map.call(document.querySelectorAll('.sparks tbody th'),function(t){return t.textContent})")
        self.assertEqual(len(set(shown)), 400, "shortened names cannot be told apart")
        self.assertEqual(self.wanted("*.39?.mlp.up")[:2], [2, 2])
        self.assertEqual(self.ask("document.querySelectorAll('.sparks tbody tr:not([hidden])').length"), 2)


class Written(unittest.TestCase):
    """The page of a run as a file, without a browser."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def page(self, *records, name="run.jsonl"):
        path = runs.write(os.path.join(self.folder, name), records)
        return self.of(path)

    def of(self, path):
        done = subprocess.run([ACTSCOPE, "page", path], capture_output=True)
        return done.stdout.decode(), done.returncode, done.stderr.decode()

    def table(self, text):
        """Of the lines over the steps: name to the paths of the first figure."""
        body = text[text.index('<table class="sparks">'):]
        rows = body[body.index("<tbody>"):body.index("</tbody>")].split("<tr")[1:]
        return {re.search(r'<th scope="row">(?:<a[^>]*>)?([^<]*)', row).group(1):
                re.findall(r'class="(l-[a-z]+)" d="([^"]*)"', row.split("<td>")[1].split("</td>")[0]) for row in rows}

    def test_is_well_formed_and_alone(self):
        text, status, complaint = self.page(*runs.records(runs.layers(5), 4, bad={20: 1}))
        self.assertEqual((status, complaint), (0, ""))
        page = Page(text)
        self.assertEqual(page.problems, [])
        self.assertEqual(len(set(page.ids)), len(page.ids))
        self.assertEqual([link for link in page.links if link[0] != "#" or link[1:] not in page.ids], [])
        self.assertEqual(re.findall(r"https?://|@import|url\(", text), [])
        self.assertIn("fc9 (activation): 64 KiB is too small", page.text)
        self.assertEqual(re.findall(r"[^\w](?:nan|inf)[^\w]", re.sub("<dt>[^<]*</dt>", "", text)), [])

    def test_lines_are_the_numbers(self):
        records = list(runs.records(runs.layers(1), 5))
        values = (0.1, 0.2, None, 0.4, 0.0)
        for record, value in zip(records, values):
            record["layers"][0]["correlation"].update(mean_abs=0.3, noise_floor=0.25, adjusted_rms=value)
        lines = self.table(self.page(*records)[0])["encoder.layers.0.attn.out"]
        y = lambda v: round(200 - 4 - v / 0.5 * 192)
        self.assertEqual(lines[2], ("l-adjusted", f"M4 {y(0.1)}l248 {y(0.2) - y(0.1)}M748 {y(0.4)}l248 {y(0) - y(0.4)}"))
        self.assertEqual(lines[1], ("l-mean", f"M4 {y(0.3)}l248 0 248 0 248 0 248 0"))

    def alike(self, text):
        """What the page says of CKA: of which step, and its numbers by two names."""
        if 'id="alike"' not in text:
            return None
        section = text[text.index('id="alike"'):]
        section = section[:section.index("</section>")]
        head, body = section[section.index("<table"):].split("</thead>")
        names = re.findall(r'<th scope="col">([^<]*)</th>', head)
        rows = re.findall(r'<th scope="row"><a[^>]*>([^<]*)</a></th>(.*?)</tr>', body)
        return int(re.search(r"at step (-?\d+):", section).group(1)), {(row, name): value for row, cells in rows for name, value in
                                                                       zip(names, re.findall("<td>([^<]*)</td>", cells))}

    def test_how_alike_the_layers_are(self):
        first, second, third = runs.records(runs.layers(9), 3)
        with_two = [runs.with_cka(first, 1), runs.with_cka(second, 2)]
        short = lambda name: name[len("encoder.layers."):]
        for records, of in ((with_two, with_two[1]), ([*with_two, third], with_two[1]), ([with_two[0], {**third, "cka": None}], with_two[0])):
            text, status, complaint = self.page(*records, name=f"{len(records)}{of['step']}.jsonl")
            self.assertEqual((status, complaint, Page(text).problems), (0, "", []))
            step, found = self.alike(text)
            names, matrix = of["cka"]["layers"], of["cka"]["matrix"]
            self.assertEqual(step, of["step"])
            self.assertEqual(found, {(short(a), short(b)): "-" if matrix[i][j] is None else f"{matrix[i][j]:.3f}"
                                     for i, a in enumerate(names) for j, b in enumerate(names)})
        self.assertIsNone(self.alike(self.page(first, second, name="none.jsonl")[0]))
        # A step that a checkpoint took back has no matrix either.
        self.assertIsNone(self.alike(self.page(first, with_two[1], second, name="back.jsonl")[0]))

    def test_cka_of_layers_that_went_and_matrices_that_are_none(self):
        record = runs.with_cka(next(runs.records(runs.layers(9), 1)))
        names, matrix = record["cka"]["layers"], record["cka"]["matrix"]
        fewer = {"layers": names[:3] + ["gone"], "matrix": [row[:4] for row in matrix[:4]]}
        _, found = self.alike(self.page({**record, "cka": fewer}, name="fewer.jsonl")[0])
        self.assertEqual(len(found), len(names) ** 2)
        self.assertEqual(sum(value != "-" for value in found.values()), 9)
        for i, wrong in enumerate(({}, [], 3, "x", {"layers": names}, {"layers": names, "matrix": matrix[1:]}, {"layers": [], "matrix": []},
                                   {"layers": names, "matrix": [row[1:] for row in matrix]}, {"layers": [1, *names[1:]], "matrix": matrix},
                                   {"layers": names, "matrix": [None] * len(names)}, {"layers": "x", "matrix": matrix})):
            text, status, complaint = self.page({**record, "cka": wrong}, name=f"wrong{i}.jsonl")
            self.assertEqual((status, complaint, self.alike(text)), (0, "", None), wrong)

    def test_no_peak_is_lost_among_many_steps(self):
        records = list(runs.records(runs.layers(1, "distinct"), 3000))
        for i, record in enumerate(records):
            record["layers"][0]["distinct"]["redundancy"] = 0.9 if i == 1234 else 0.01 if i == 2345 else 0.5
        lines = self.table(self.page(*records)[0])["encoder.layers.0.attn.out"]
        moves = re.findall(r"(-?\d+) (-?\d+)", lines[0][1])
        heights, y = [], 0
        for i, (_, dy) in enumerate(moves):
            y = int(dy) if i == 0 else y + int(dy)
            heights.append(y)
        scale = lambda v: round(200 - 4 - v * 192)
        self.assertEqual((min(heights), max(heights)), (scale(0.9), scale(0.01)))
        self.assertLess(len(moves), 600)

    def test_a_run_that_went_back_to_a_checkpoint(self):
        first = list(runs.records(runs.layers(1), 6, bad={40: 0}))
        again = list(runs.records(runs.layers(1), 4))[2:]
        text, status, _ = self.page(*first, *again)
        self.assertEqual(status, 0)
        self.assertIn("steps 0 to 30 of run.jsonl", text)
        self.assertIn("<b>4</b><span>measured steps</span>", text)
        self.assertIn("<b>0</b><span>steps with a NaN", text)

    def test_layers_that_come_and_go(self):
        records = list(runs.records(runs.layers(3), 3))
        del records[0]["layers"][2], records[2]["layers"][1]
        text, status, _ = self.page(*records)
        self.assertEqual(status, 0)
        self.assertEqual(sorted(self.table(text)), ["encoder.layers.0.attn.out", "encoder.layers.1.mlp.up", "encoder.layers.2.mlp.down"])
        self.assertEqual(text.count('<details id="layer-'), 2)
        self.assertEqual(Page(text).problems, [])

    def test_names_are_text_and_nothing_else(self):
        record = next(runs.records(runs.layers(1), 1))
        record["layers"][0]["name"] = '<script>alert(1)</script>"\'&\u202e'
        record["warnings"] = ["<b>warned</b>"]
        page = Page(self.page(record)[0])
        self.assertEqual([tag for tag, _ in page.tags].count("script"), 1)
        self.assertTrue('<script>alert(1)</script>"\'&\\u202e' in page.text and "<b>warned</b>" in page.text)

    def test_lists_that_are_none(self):
        """What stands where single pairs and features belong may be anything."""
        first = runs.layers(2, top_pairs=3, top_features=2)
        for kind in (None, 7, "x", {}, [], [1, "x", None], [{}], [{"i": -1, "j": 1e300, "r": "x"}, {"i": 1}], [{"feature": 2, "mean_abs": None}],
                     {"count": 9, "first": []}, {"count": -1, "first": [1]}, {"count": 3, "first": [1, "x", 2, 3, 4, 5, 6, 7, 8, 9, 10]}, {"count": 1e300, "first": "x"}):
            for name in ("top_pairs", "top_features", "pairless_features"):
                records = list(runs.records(first, 1))
                records[0]["layers"][0]["correlation"][name] = kind
                with self.subTest(name=name, kind=kind):
                    text, status, said = self.page(*records, name=f"{name}{self.number}.jsonl")
                    self.number += 1
                    self.assertEqual((status, said), (0, ""))
                    self.assertEqual(Page(text).problems, [])
                    self.assertFalse(re.search(r"<td>-?(nan|inf)", text))

    number = 0

    def test_what_cannot_be_read(self):
        path = runs.write(os.path.join(self.folder, "run.jsonl"), runs.records(runs.layers(2), 3))
        with open(path, "rb") as file:
            whole = file.read()
        lines = whole.splitlines(keepends=True)

        def of(data):
            with open(path, "wb") as file:
                file.write(data)
            text, status, complaint = self.of(path)
            return re.findall(r"<b>(\d+)</b><span>measured", text), status, complaint.replace(path, "FILE")

        self.assertEqual(of(whole), (["3"], 0, ""))
        self.assertEqual(of(whole[:-1]), (["2"], 0, ""), "a last line without its end is not there yet")
        self.assertEqual(of(b"".join(lines[:-1])), (["2"], 0, ""), "nor is a step without its last line")
        self.assertEqual(of(b"".join(lines[:-1]) + whole), (["3"], 0, ""), "a step that was begun and never finished")
        self.assertEqual(of(lines[0] + b"junk\n" + b"".join(lines[1:])), (["3"], 2, "actscope: FILE: line 2: not JSON\n"))
        self.assertEqual(of(b"".join(lines[1:])), (["2"], 2, "actscope: FILE: line 2: step 0 has 1 of its 2 layers\n"))
        self.assertEqual(of(b""), ([], 2, "actscope: FILE: there is no whole step in it\n"))
        self.assertEqual(of(b'{"schema":"actscope-report/1","type":"layer"}\n')[1:],
                         (2, "actscope: FILE: line 1: no line of a monitor's stream (schema actscope-monitor/1): of `actscope report`, "
                             "whose page is --format html\n"))
        self.assertEqual(of(b"[1]\n" * 9)[2].splitlines()[-1], "actscope: FILE: and 4 more bad lines")
        self.assertEqual(of(lines[0].replace(b'"float32"', b'"int3"') + lines[1])[2].splitlines()[0],
                         "actscope: FILE: line 1: a layer without name, kind, dtype or shape")
        wild = re.sub(rb'"(mean_abs|adjusted_rms|0.5|max|std)":[-0-9.e]+', rb'"\1":1e308', whole)
        self.assertEqual(of(wild)[1], 0)
        self.assertEqual(re.findall(r' (?:d|[cxy]+|width|height)="[^"]*(?:nan|inf)[^"]*"', self.of(path)[0]), [], "drawn where nothing can be")
        self.assertEqual(of(whole.replace(b'"mean":', b'"mean":[{"a":null}],"x":'))[1], 0, "what is no number does not exist")

    def test_from_python(self):
        path = runs.write(os.path.join(self.folder, "run.jsonl"), runs.records(runs.layers(2), 3))
        text = actscope.html(path)
        self.assertEqual(text, self.of(path)[0])
        output = os.path.join(self.folder, "page.html")
        self.assertEqual(actscope.html(pathlib.Path(path), pathlib.Path(output)), output)
        with open(output) as file:
            self.assertEqual(file.read(), text)
        with open(path, "ab") as file:
            file.write(b"junk\n")
        with self.assertRaisesRegex(actscope.InputError, "run.jsonl: line 10: not JSON") as caught:
            actscope.html(path)
        self.assertEqual(caught.exception.page, text)
        with self.assertRaisesRegex(actscope.InputError, "No such file") as caught:
            actscope.html("/no/such/file", output)
        self.assertIsNone(caught.exception.page)
        with self.assertRaisesRegex(OSError, "/no/such/page.html: No such file"):
            actscope.html(runs.write(os.path.join(self.folder, "b.jsonl"), runs.records(runs.layers(1), 1)), "/no/such/page.html")

    def test_wrong_usage(self):
        for arguments, word in (((), "no file"), (("--what", "x"), "unknown option"), (("a", "b"), "one file"), (("-o",), "wants a value")):
            done = subprocess.run([ACTSCOPE, "page", *arguments], capture_output=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn(word, done.stderr.decode())
        done = subprocess.run([ACTSCOPE, "page", "/no/such/file"], capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (2, b"actscope: /no/such/file: No such file or directory\n"))
        path = runs.write(os.path.join(self.folder, "run.jsonl"), runs.records(runs.layers(1), 1))
        self.assertEqual(subprocess.run([ACTSCOPE, "page", path, "-o", "/no/such/page.html"], capture_output=True).returncode, 5)
        with open(path, "rb") as file:
            self.assertEqual(subprocess.run([ACTSCOPE, "page", "-"], stdin=file, capture_output=True).returncode, 0)


if __name__ == "__main__":
    unittest.main()
