"""The style sheet: calm, readable by day, by night and on paper; fonts are those of the reader's system."""

STYLE = """
:root { color-scheme: light dark; --paper:#fff; --ink:#1b2129; --soft:#56616e; --faint:#dde2e8; --wash:#f5f7f9;
  --link:#0b5cad; --alarm:#a5121f; --alarm-wash:#fdecec; --caution:#7a4b00; --caution-wash:#fff5df;
  --calm:#1d5a3c; --calm-wash:#ebf6f0;
  --s0:#0b6bb3; --s1:#c4500a; --s2:#1a7f4b; --s3:#9a3fa0; --s4:#8a6d00; --s5:#b3284d; --s6:#0f7c86; --s7:#5b5f66;
  --t0:#6f8fc4; --t1:#c98f5a; --t2:#7caa6d; --t3:#b57fb5; --t4:#b8a24a; --t5:#c4808b; --t6:#5fa8a8; --t7:#8d8f98;
  --t8:#a08364; --t9:#8583c9; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper:#14181d; --ink:#e4e8ed; --soft:#a2adb9; --faint:#333c46;
  --wash:#1c2228; --link:#7dbbff; --alarm:#ff9c9c; --alarm-wash:#3a1719; --caution:#f2c46d; --caution-wash:#33280f;
  --calm:#8ed6b0; --calm-wash:#142a20;
  --s0:#62b0f0; --s1:#f0915a; --s2:#5cc08d; --s3:#d08ad6; --s4:#d9b94a; --s5:#f07f9c; --s6:#5cc4ce; --s7:#aab0b8; } }
.s0{--c:var(--s0)} .s1{--c:var(--s1)} .s2{--c:var(--s2)} .s3{--c:var(--s3)} .s4{--c:var(--s4)} .s5{--c:var(--s5)}
.s6{--c:var(--s6)} .s7{--c:var(--s7)} .s-pooled{--c:var(--ink)} .over{--c:var(--alarm)}
.t0{--c:var(--t0)} .t1{--c:var(--t1)} .t2{--c:var(--t2)} .t3{--c:var(--t3)} .t4{--c:var(--t4)} .t5{--c:var(--t5)}
.t6{--c:var(--t6)} .t7{--c:var(--t7)} .t8{--c:var(--t8)} .t9{--c:var(--t9)} .t-none{--c:var(--soft)}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", "Liberation Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1100px; margin: 0 auto; padding: 28px 24px 80px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 4px 0 6px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 0 0 10px; letter-spacing: -.005em; }
h3 { font-size: 1rem; margin: 0 0 8px; }
p { margin: 0 0 10px; max-width: 76ch; }
a { color: var(--link); }
.over-title { color: var(--soft); margin: 0; }
.lead { font-size: 1.06rem; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 22px 0 8px; padding: 10px 0; font-size: .92rem;
  border-top: 1px solid var(--faint); border-bottom: 1px solid var(--faint); }
nav a { text-decoration: none; } nav a:hover { text-decoration: underline; }
section { padding-top: 34px; }
.notice { border-left: 4px solid var(--n); background: var(--w); padding: 11px 16px; margin: 12px 0;
  border-radius: 3px; }
.notice strong { display: block; color: var(--n); }
.alarm { --n: var(--alarm); --w: var(--alarm-wash); } .caution { --n: var(--caution); --w: var(--caution-wash); }
.calm { --n: var(--calm); --w: var(--calm-wash); }
.notice.alarm strong { font-size: 1.15rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(168px, 1fr)); gap: 14px 20px;
  margin: 18px 0 4px; }
.facts dt { color: var(--soft); font-size: .85rem; } .facts dd { margin: 0; font-size: 1.1rem; font-weight: 600;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.figure { margin: 14px 0 26px; }
.figure > figcaption, .note { color: var(--soft); font-size: .93rem; max-width: 82ch; margin-top: 8px; }
.absent { color: var(--soft); font-style: italic; }
svg { display: block; width: 100%; height: auto; }
.chart { overflow: visible; font-family: inherit; }
.chart text { fill: var(--ink); font-size: 12px; } .chart .tick { fill: var(--soft); font-size: 11px; }
.chart .title { fill: var(--soft); } .chart .number { font-variant-numeric: tabular-nums; font-weight: 600; }
.chart .absent { fill: var(--soft); font-size: 11px; } .chart .panel { font-weight: 600; font-size: 13px; }
.grid { stroke: var(--faint); stroke-width: 1; } .zero { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke: var(--c); stroke-width: 1.6; stroke-linejoin: round; }
.line.s-pooled { stroke-width: 2.6; } .line.second { stroke-dasharray: 6 3; }
.band { fill: var(--c); opacity: .13; stroke: none; }
.dot { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
.dot.hollow { fill: var(--paper); stroke: var(--c); stroke-width: 1.5; }
.bar { stroke: var(--c); stroke-width: 3; stroke-linecap: round; opacity: .55; } .fill { fill: var(--c); }
.mark { stroke: var(--ink); stroke-width: 1.6; }
.budget { stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 5 3; }
[data-tip] { cursor: default; } .chart [data-tip]:hover { stroke: var(--ink); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0 0 6px; max-width: none; font-size: .9rem; }
.key { white-space: nowrap; } .swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px;
  background: var(--c); margin-right: 7px; }
.swatch.truth { background: #e0a800; } .swatch.predicted { background: #00a3cc; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 18px 26px; }
.panels.wide { grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); }
.panel-title { font-weight: 600; font-size: .93rem; margin: 0 0 2px; }
.scroll { overflow-x: auto; margin: 6px 0 4px; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 16px 5px 0; text-align: left; border-bottom: 1px solid var(--faint); vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; border-bottom-color: var(--soft); }
tbody th { font-weight: 500; white-space: nowrap; } .number { text-align: right; white-space: nowrap; }
td small { color: var(--soft); display: block; } td.refused { color: var(--alarm); font-weight: 600; }
td.partly { color: var(--caution); font-weight: 600; }
.beside { display: grid; grid-template-columns: 1fr 1fr; gap: 26px; align-items: start; }
.tiles { display: grid; gap: 5px; } .tiles .head { font-size: .82rem; color: var(--soft); text-align: center; }
.tile { margin: 0; } .tile svg, .empty { background: #000; border-radius: 3px; overflow: hidden; }
.tile figcaption { font-size: .82rem; color: var(--soft); margin-top: 3px; font-variant-numeric: tabular-nums; }
.empty { aspect-ratio: 1; display: grid; place-items: center; background: var(--wash); color: var(--soft);
  font-size: .76rem; text-align: center; }
.contour { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linecap: square; }
.contour.truth { stroke: #ffd23f; } .contour.predicted { stroke: #35d0ff; stroke-dasharray: 4 3; stroke-linecap: butt; }
.tokens { display: grid; grid-template-columns: minmax(0, 1fr); gap: 18px; }
.tokens > div > svg { max-width: 760px; }
.map { background: var(--wash); border-radius: 6px; }
.region { fill: var(--c); fill-opacity: .13; stroke: var(--c); stroke-opacity: .13; stroke-width: 16;
  stroke-linejoin: round; }
.anchor { fill: var(--c); stroke: var(--wash); stroke-width: .6; }
.patient { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
.patient.unlike { fill: var(--paper); stroke: var(--c); stroke-width: 1.4; stroke-dasharray: 2 1.5; }
.ground { fill: var(--c); fill-opacity: .16; }
.profiles th { font-weight: 500; white-space: nowrap; } .profiles tbody th { text-align: left; }
.profiles .above { background: color-mix(in srgb, #c0504d calc(var(--share) * 70%), transparent); }
.profiles .below { background: color-mix(in srgb, #4a78b5 calc(var(--share) * 70%), transparent); }
.plate { fill: var(--paper); fill-opacity: .86; } .arc { fill: none; stroke: var(--c); stroke-width: 8; }
.chart .arc { transform-box: fill-box; } .chart .arc:hover { stroke: var(--c); stroke-width: 11; }
.chart .label { font-weight: 700; font-size: 12px; paint-order: stroke; stroke: var(--wash); stroke-width: 3px;
  pointer-events: none; }
.dim { opacity: .22; } .gone { display: none; }
.switches { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 8px; align-items: center; font-size: .9rem; }
button { font: inherit; font-size: .88rem; color: var(--ink); background: var(--wash); border: 1px solid var(--faint);
  border-radius: 14px; padding: 2px 12px 2px 8px; cursor: pointer; display: inline-flex; align-items: center;
  gap: 6px; }
button[aria-pressed="false"] { opacity: .5; text-decoration: line-through; }
button svg { width: 13px; height: 13px; fill: var(--ink); } button .swatch { margin: 0; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
summary { cursor: pointer; color: var(--link); margin: 8px 0; }
pre { background: var(--wash); padding: 14px; border-radius: 4px; overflow-x: auto; font-size: .84rem; }
#tip { position: fixed; pointer-events: none; opacity: 0; background: var(--ink); color: var(--paper);
  padding: 5px 10px; border-radius: 4px; font-size: .86rem; max-width: 380px; z-index: 9; left: 0; top: 0; }
#tip.on { opacity: 1; }
@media (max-width: 900px) { .beside { grid-template-columns: 1fr; }
  .panels.wide { grid-template-columns: 1fr; } }
@media print { :root { --paper:#fff; --ink:#000; --soft:#444; --faint:#ccc; --wash:#f6f6f6; } body { font-size: 11pt;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; } main { max-width: none; padding: 0; }
  nav, #tip, .switches button[aria-pressed="false"] { display: none; } section { padding-top: 18px; }
  .figure, .notice, tr, .tile { break-inside: avoid; } h2, h3 { break-after: avoid; } .scroll { overflow: visible; } }
"""
