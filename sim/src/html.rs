//! What the pages of the simulator have in common: escaping and the frame around their content.
//!
//! A page is one file: no script, no font and no picture from elsewhere, so that it can be mailed and
//! read without a network. Text that comes from a run or a scenario goes through [`escape`], always.

/// Text as it may stand in an element or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in a document, not even escaped.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A whole page with a title and a body that is markup already.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )
}

/// A table of texts; the cells of all columns but the first `left` stand to the right.
pub fn table(head: &[&str], left: usize, rows: &[Vec<String>]) -> String {
    let class = |column: usize| if column < left { "" } else { " class=\"n\"" };
    let mut out = String::from("<table>\n<tr>");
    for (column, cell) in head.iter().enumerate() {
        out.push_str(&format!("<th{}>{}</th>", class(column), escape(cell)));
    }
    out.push_str("</tr>\n");
    for row in rows {
        out.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            out.push_str(&format!("<td{}>{}</td>", class(column), escape(cell)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table>\n");
    out
}

/// Light and dark by what the reader's system asks for.
const STYLE: &str = "
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#59636e;--line:#d1d9e0;--box:#f6f8fa;
--fault:#b35900;--down:#d1242f;--lead:#1a7f37;--message:#0969da;--bulk:#8250df;--op:#9aa4af;--hot:#bf3989;
--good:#1a7f37;--bad:#d1242f}
@media(prefers-color-scheme:dark){:root{--back:#0d1117;--text:#e6edf3;--soft:#9198a1;--line:#3d444d;
--box:#151b23;--fault:#f0883e;--down:#f85149;--lead:#3fb950;--message:#4493f8;--bulk:#ab7df8;--op:#6e7681;
--hot:#f778ba;--good:#3fb950;--bad:#f85149}}
body{margin:0;background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:1240px;margin:0 auto;padding:24px}
h1{font-size:24px;margin:0 0 8px}h2{font-size:18px;margin:28px 0 8px}
p{margin:6px 0}.soft{color:var(--soft)}
pre,code{font:13px/1.45 ui-monospace,monospace}
pre{background:var(--box);border:1px solid var(--line);border-radius:6px;padding:10px;overflow-x:auto;
white-space:pre-wrap}
table{border-collapse:collapse;margin:8px 0;display:block;overflow-x:auto}
th,td{border-bottom:1px solid var(--line);padding:4px 10px;text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:600}.n{text-align:right;font-variant-numeric:tabular-nums}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}
.diagram{overflow-x:auto;border:1px solid var(--line);border-radius:6px;background:var(--back)}
svg{display:block}svg text{fill:var(--text);font:12px ui-monospace,monospace}svg .soft{fill:var(--soft)}
@media print{main{max-width:none;padding:0}}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(
            escape("<b a=\"1\" c='2'>&amp;</b>\u{0}"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;&lt;/b&gt;\u{fffd}"
        );
        let page = page("</title><script>", "");
        assert!(!page.contains("<script>"));
        let table = table(&["<i>"], 1, &[vec!["<u>".to_owned()]]);
        assert!(!table.contains("<i>") && !table.contains("<u>"));
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        let page = page("t", "<p>b</p>");
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme:dark"));
    }
}
