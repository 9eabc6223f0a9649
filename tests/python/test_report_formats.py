"""The formats as other programs read them: strict JSON, CSV by Python's own reader, HTML by its own parser.

The documents are made up by tests/report_sample; what they hold is in tests/report_documents.h."""
import csv, html.parser, io, json, os, re, subprocess, unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SAMPLE = os.path.join(ROOT, os.environ.get("ACTSCOPE_BUILD", "build"), "tests", "report_sample")
KINDS = ("0", "1", "5", "100", "troubles")


def sample(kind, form, *more):
    return subprocess.run([SAMPLE, kind, form, *more], check=True, capture_output=True).stdout.decode("utf-8", "strict")


def strict(text):
    """JSON as the standard has it: no NaN or Infinity, no key twice in an object."""

    def refuse(token):
        raise ValueError(f"{token} is not JSON")

    def unique(pairs):
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise ValueError(f"a key appears twice: {keys}")
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)


class Json(unittest.TestCase):
    def test_is_strict(self):
        for kind in KINDS:
            with self.subTest(kind):
                report = strict(sample(kind, "json"))
                self.assertEqual(report["schema"], "actscope-report/1")
                self.assertEqual(len(report["layers"]), 7 if kind == "troubles" else int(kind))

    def test_counts_are_exact(self):
        layer = strict(sample("troubles", "json"))["layers"][2]
        self.assertEqual(layer["profile"]["count"], 2**53 + 1)
        self.assertEqual(layer["correlation"]["pairs_total"], 2**64 - 1)
        self.assertEqual(layer["correlation"]["histogram"][63], 2**54 + 1)

    def test_is_laid_out_for_people(self):
        text = sample("5", "json")
        self.assertTrue('\n  "backend": "cpu",\n' in text)
        self.assertTrue('"shape": [128, 512, 4, 4],\n' in text)
        self.assertLess(max(map(len, text.splitlines())), 121)

    def test_jsonl_holds_what_json_holds(self):
        for kind in KINDS:
            with self.subTest(kind):
                whole = strict(sample(kind, "json"))
                lines = [strict(line) for line in sample(kind, "jsonl").splitlines()]
                self.assertEqual([line.pop("type") for line in lines], ["layer"] * (len(lines) - 1) + ["network"])
                self.assertEqual({line.pop("schema") for line in lines}, {whole.pop("schema")})
                network = lines.pop()
                self.assertEqual(lines, whole.pop("layers"))
                whole.update(whole.pop("network"))
                self.assertEqual(network, whole)


class Csv(unittest.TestCase):
    def rows(self, kind):
        return list(csv.reader(io.StringIO(sample(kind, "csv"), newline=""), strict=True))

    def test_every_row_has_every_column(self):
        for kind in KINDS:
            with self.subTest(kind):
                head, *rows = self.rows(kind)
                self.assertEqual(len(set(head)), len(head), "a column appears twice")
                self.assertEqual({len(row) for row in rows} - {len(head)}, set())
                self.assertEqual(len(rows), 7 if kind == "troubles" else int(kind))

    def test_holds_what_json_holds(self):
        def flat(value, path, out):
            names = {"mean_abs_ci95": ("lo", "hi")}
            if isinstance(value, dict):
                for key, child in value.items():
                    flat(child, path + [key], out)
            elif isinstance(value, list) and path[-1] in ("mean_abs_ci95", "histogram"):
                for k, child in enumerate(value):
                    flat(child, path + [names.get(path[-1], range(64))[k]], out)
            else:
                out[".".join(map(str, path))] = value

        for kind in ("5", "troubles"):
            head, *rows = self.rows(kind)
            for layer, row in zip(strict(sample(kind, "json"))["layers"], rows):
                seen, values = dict(zip(head, row)), {}
                for section in ("profile", "distinct", "health", "correlation", "rank", "similarity", "compat"):
                    flat({k: v for k, v in layer.get(section, {}).items() if k != "buckets"}, [section], values)
                self.assertEqual((seen["name"], seen["role"]), (layer["name"], layer["role"]))
                self.assertEqual(seen["shape"], "x".join(map(str, layer["shape"])))
                for key, value in values.items():
                    if value is None:
                        self.assertEqual(seen.get(key, ""), "", key)
                    elif isinstance(value, str):
                        self.assertEqual(seen[key], value, key)
                    else:
                        self.assertEqual(type(value)(seen[key]), value, key)
                unmeasured = set(seen) - set(values) - {"name", "source", "dtype", "shape", "samples", "features",
                                                        "seconds", "score", "reasons", "warnings", "role"}
                self.assertEqual({key for key in unmeasured if seen[key]}, set())


class Page(html.parser.HTMLParser):
    """Checks that elements nest, and collects what a test wants to know."""

    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.tags, self.problems, self.text = [], [], [], [], [], []
        self.feed(text)
        self.close()
        if self.open:
            self.problems.append(f"never closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        if len(set(names)) != len(names):
            self.problems.append(f"<{tag}> has an attribute twice at {self.getpos()}")
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes something else")

    def handle_data(self, data):
        self.text.append(data)


class Html(unittest.TestCase):
    def test_is_well_formed_and_alone(self):
        for kind in KINDS:
            with self.subTest(kind):
                text = sample(kind, "html")
                page = Page(text)
                self.assertEqual(page.problems, [])
                self.assertEqual(len(set(page.ids)), len(page.ids), "an id appears twice")
                self.assertEqual([link for link in page.links if link[0] != "#" or link[1:] not in page.ids], [])
                self.assertEqual(text.count("<script"), 1, "only the page's own script")
                loading = {"src", "srcset", "onload", "onerror"}
                self.assertEqual([attributes for _, attributes in page.tags if loading & set(attributes)], [])
                self.assertEqual(re.findall(r"https?://|@import|url\(", text), [])
                self.assertEqual(re.findall(r"[^\w](?:nan|inf)[^\w]", re.sub("<dt>[^<]*</dt>", "", text)), [])
                self.assertEqual(re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", text), [])

    def test_names_are_text_and_nothing_else(self):
        page = Page(sample("troubles", "html"))
        name = "a\"b'c<script>alert(1)</script>&amp;\\n\\x1b[31m,\\ \u5c42\u540d e\u0301 \ufffd\ufffd \\u202eend"
        self.assertTrue(name in page.text)
        self.assertEqual([a["title"] for tag, a in page.tags if tag == "a" and "title" in a].count(name), 1)
        self.assertFalse("\u202e" in "".join(page.text))

    def test_can_be_read_without_seeing(self):
        page = Page(sample("5", "html"))
        figures = [attributes for tag, attributes in page.tags if tag == "svg"]
        self.assertGreater(len(figures), 20)
        for attributes in figures:
            self.assertTrue(attributes.get("aria-hidden") == "true" or
                            (attributes.get("role") == "img" and attributes.get("aria-labelledby")), attributes)
            self.assertEqual([i for i in attributes.get("aria-labelledby", "").split() if i not in page.ids], [])
        heads = [attributes for tag, attributes in page.tags if tag == "th"]
        self.assertTrue(heads and all("scope" in attributes for attributes in heads))
        self.assertEqual([tag for tag, _ in page.tags].count("h1"), 1)
        self.assertEqual(dict(page.tags)["html"].get("lang"), "en")

    def test_rows_come_by_score(self):
        text = sample("24", "html")
        body = text[text.index("<tbody>"):text.index("</tbody>")]
        scores = [float(value) for value in re.findall(r"</svg>(\d\.\d\d)</td><th scope=\"row\">", body)]
        self.assertEqual(len(scores), 24)
        self.assertEqual(scores, sorted(scores, reverse=True))
        ranking = [entry["layer"] for entry in strict(sample("24", "json"))["network"]["bottlenecks"]]
        self.assertEqual(re.findall(r"<th scope=\"row\"><a href=\"[^\"]*\" title=\"([^\"]*)\"", body), ranking)

    def test_what_does_not_exist_is_not_drawn(self):
        text = sample("troubles", "html")
        row = next(row for row in text.split("<tr data-i") if "0\u00d77" in row)
        self.assertEqual(re.findall('class="(mean|adjusted|floor|redundancy|dead)"', row), [])
        self.assertEqual(row.count("<td>-</td>"), 6)

    def test_sections_that_were_not_measured_are_absent(self):
        text = sample("troubles", "html")
        only_entropy = text[text.index('id="layer-4"'):text.index('id="layer-7"')]
        self.assertEqual(re.findall("<svg|entropy|correlation", only_entropy), ["entropy"] * 2, "its own and the other analyser's")


class Table(unittest.TestCase):
    def test_colours_change_nothing_but_colour(self):
        plain, coloured = sample("troubles", "table", "120"), sample("troubles", "table", "120", "1")
        self.assertTrue("\x1b[31m" in coloured)
        self.assertEqual(plain.splitlines(), re.sub("\x1b\\[[0-9]*m", "", coloured).splitlines())


if __name__ == "__main__":
    unittest.main()
