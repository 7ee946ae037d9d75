"""The look of the page, light or dark as the reader's system is."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #22303c; --soft: #5d6b78; --faint: #64717e;
  --line: #e3e1da; --grid: #e3e8ed; --accent: #2f6fb3;
  --blue: #2f6fb3; --orange: #d9722a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --card: #1c2228; --ink: #dfe5ea; --soft: #a3afba; --faint: #84909c;
    --line: #2c343c; --grid: #2c343c; --accent: #7fb2e6;
    --blue: #7fb2e6; --orange: #eb9a63;
  }
  figure.light img { filter: brightness(0.9); }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 "Iowan Old Style", "Palatino Linotype", Palatino, Charter, Georgia, serif;
  font-variant-numeric: lining-nums;
  overflow-wrap: break-word;
}
main { max-width: 60rem; margin: 0 auto; padding: 4rem 1.5rem 6rem; }
h1 { font-size: 2.3rem; line-height: 1.15; font-weight: 600; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; font-weight: 600; margin: 3.6rem 0 .3rem; }
p { margin: .4rem 0 1rem; max-width: 44rem; }
a { color: var(--accent); }
.sub, .note, figcaption { color: var(--soft); }
.note, figcaption { font-size: .92rem; }
.numbers { display: flex; flex-wrap: wrap; gap: 1.2rem 3rem; margin: 2.2rem 0 0; padding: 0; }
.numbers div { min-width: 6rem; }
.numbers dt { color: var(--soft); font-size: .88rem; }
.numbers dd { margin: 0; font-size: 1.75rem; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
nav { margin: 2.4rem 0 0; padding: .7rem 0; border: solid var(--line); border-width: 1px 0; }
nav a { margin-right: 1.4rem; text-decoration: none; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
figure { margin: 1.2rem 0 0; overflow-x: auto; }
figure.light { background: #ffffff; border: 1px solid var(--line); border-radius: 6px;
  padding: .8rem; }
figure.light img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figure svg { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; margin-top: .8rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem 1.4rem .28rem 0;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.w { overflow-wrap: anywhere; }
code, td.code { font: .85em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
summary { cursor: pointer; color: var(--accent); margin-top: 1rem; }
footer { margin-top: 4.5rem; color: var(--faint); font-size: .88rem; }
/* On a telephone a figure scrolls sideways, rather than shrink until it can't be read. */
@media (max-width: 45rem) {
  main { padding: 2rem 1rem 4rem; }
  h1 { font-size: 1.8rem; }
  figure svg, figure.light img { max-width: none; width: 42rem; }
}
@media print { nav { display: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""
