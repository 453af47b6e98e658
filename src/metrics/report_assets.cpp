#include "metrics/report_assets.h"

namespace millrace {

const char* const kReportStyle = R"css(
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1c2430; --soft: #667085; --rule: #e4e7ec;
  --c1: #2563eb; --c2: #d9480f; --c3: #0f9d76; --c4: #8b5cf6;
  --c5: #440154; --c6: #46327e; --c7: #365c8d; --c8: #277f8e; --c9: #1f9e77; --c10: #4caf50; --c11: #93b31a; --c12: #dba617; }
@media (prefers-color-scheme: dark) { :root { --page: #0f141b; --card: #181f29; --text: #e6eaf0; --soft: #8d99ab;
  --rule: #2a3442; --c1: #6ea8fe; --c2: #ff9b63; --c3: #45d3a3; --c4: #b79bff;
  --c5: #c58af9; --c6: #9d8cf5; --c7: #6ea8fe; --c8: #4cc3d0; --c9: #45d3a3; --c10: #7fdc7a; --c11: #b9e04e; --c12: #f2cf4a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 16px 48px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 14px; margin-bottom: 18px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 34px 0 12px; }
h3 { font-size: 14px; margin: 0; font-weight: 600; }
.soft, header p { color: var(--soft); margin: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; margin: 0; }
.facts div, figure, details, .samples { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.facts div { padding: 10px 14px; }
.facts dt { color: var(--soft); font-size: 12px; }
.facts dd { margin: 0; font-size: 19px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.facts .long { grid-column: 1 / -1; }
.facts .long dd { font-size: 15px; font-weight: 400; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px; }
figure { margin: 0; padding: 12px 14px 8px; position: relative; }
figure.wide { grid-column: 1 / -1; }
figcaption { display: flex; flex-wrap: wrap; gap: 2px 14px; align-items: baseline; margin-bottom: 4px; }
.key { font-size: 12px; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: 12px; height: 3px; border-radius: 2px; margin-right: 5px;
  vertical-align: middle; background: currentColor; }
.k1::before { background: var(--c1); } .k2::before { background: var(--c2); }
.k3::before { background: var(--c3); } .k4::before { background: var(--c4); }
.k5::before { background: var(--c5); } .k6::before { background: var(--c6); }
.k7::before { background: var(--c7); } .k8::before { background: var(--c8); }
.k9::before { background: var(--c9); } .k10::before { background: var(--c10); }
.k11::before { background: var(--c11); } .k12::before { background: var(--c12); }
.key.faint::before { opacity: .4; }
figure > svg { display: block; width: 100%; height: auto; touch-action: pan-y; }
.phone { display: none; }
.grid { stroke: var(--rule); fill: none; }
.tick { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.line, .faint { fill: none; stroke-width: 2; stroke-linejoin: round; stroke: currentColor; }
path.faint { stroke-width: 1; opacity: .4; }
.c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); } .c4 { color: var(--c4); }
.c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); } .c8 { color: var(--c8); }
.c9 { color: var(--c9); } .c10 { color: var(--c10); } .c11 { color: var(--c11); } .c12 { color: var(--c12); }
.dot { fill: currentColor; stroke: var(--card); stroke-width: 1; }
.cursor { stroke: var(--soft); stroke-dasharray: 3 3; visibility: hidden; }
output { position: absolute; top: 34px; right: 16px; font-size: 12px; padding: 3px 8px; border-radius: 6px;
  background: var(--page); border: 1px solid var(--rule); visibility: hidden; pointer-events: none;
  font-variant-numeric: tabular-nums; white-space: pre; }
.samples { padding: 14px; }
.samples .shown { display: block; max-width: 100%; width: min(100%, 640px); margin: 0 auto; border-radius: 6px;
  image-rendering: pixelated; }
.slide { display: flex; gap: 12px; align-items: center; margin: 12px auto; max-width: 640px; }
.slide input { flex: 1; accent-color: var(--c1); }
.slide span { min-width: 92px; text-align: right; font-variant-numeric: tabular-nums; }
.strip { display: flex; gap: 8px; overflow-x: auto; padding-bottom: 6px; }
.strip button { all: unset; cursor: pointer; flex: none; width: 104px; font-size: 12px; color: var(--soft); text-align: center; }
.strip img { width: 100%; aspect-ratio: 1; object-fit: cover; object-position: top left; border-radius: 6px;
  border: 2px solid transparent; display: block; }
.strip [aria-current=true] { color: var(--text); } .strip [aria-current=true] img { border-color: var(--c1); }
.strip button:focus-visible { outline: 2px solid var(--c1); border-radius: 6px; }
.prompts { columns: 3 180px; margin: 12px 0 0; padding-left: 26px; color: var(--soft); font-size: 13px; }
details { padding: 10px 14px; }
.texts { margin: 0 0 10px; } .texts table { border-collapse: collapse; width: 100%; margin-top: 8px; font-size: 13.5px; }
.texts th { text-align: left; color: var(--soft); font-weight: 500; white-space: nowrap; }
.texts th, .texts td { padding: 4px 14px 4px 0; vertical-align: top; border-top: 1px solid var(--rule); white-space: pre-wrap; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; font: 12.5px/1.5 ui-monospace, monospace; margin: 10px 0 2px; }
footer { margin-top: 30px; color: var(--soft); font-size: 13px; }
@media (max-width: 700px) { .charts { grid-template-columns: 1fr; } h1 { font-size: 21px; }
  main { padding: 18px 12px 32px; } .tick { font-size: 14px; }
  .wide { display: none; } .phone { display: block; } }
)css";

const char* const kReportScript = R"js(
for (const figure of document.querySelectorAll('figure.chart')) {
  const svg = figure.querySelector('svg'), cursor = figure.querySelector('.cursor'), out = figure.querySelector('output');
  const series = JSON.parse(figure.querySelector('script').textContent), unit = figure.dataset.unit;
  const [left, right, first, last] = JSON.parse(figure.dataset.x);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), width = svg.viewBox.baseVal.width;
    const x = (event.clientX - box.left) / box.width * width;
    const step = first + (x - left) / (right - left) * (last - first);
    let text = '', at = null;
    for (const one of series) {
      let low = 0, high = one.points.length - 1;
      while (low < high) { const mid = (low + high) >> 1; if (one.points[mid][0] < step) low = mid + 1; else high = mid; }
      if (low > 0 && step - one.points[low - 1][0] < one.points[low][0] - step) low--;
      if (at === null) { at = one.points[low][0]; text = 'step ' + at; }
      text += '\n' + one.name + ' ' + one.points[low][1] + (unit ? ' ' + unit : '');
    }
    const place = left + (at - first) / (last - first) * (right - left);
    cursor.setAttribute('transform', 'translate(' + place + ' 0)');
    out.textContent = text;
    out.style.right = x > width / 2 ? 'auto' : '16px';
    out.style.left = x > width / 2 ? left / width * 100 + 4 + '%' : 'auto';
    cursor.style.visibility = out.style.visibility = 'visible';
  });
  svg.addEventListener('pointerleave', () => { cursor.style.visibility = out.style.visibility = 'hidden'; });
}
const samples = document.querySelector('.samples');
if (samples) {
  const buttons = [...samples.querySelectorAll('.strip button')], shown = samples.querySelector('.shown');
  const slider = samples.querySelector('input'), label = samples.querySelector('.slide span');
  const show = i => {
    buttons.forEach((button, k) => button.setAttribute('aria-current', k === i));
    shown.src = buttons[i].querySelector('img').src;
    shown.alt = label.textContent = buttons[i].dataset.label;
    slider.value = i;
    const strip = buttons[i].parentElement;
    strip.scrollLeft = buttons[i].offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + 52;
  };
  buttons.forEach((button, i) => button.addEventListener('click', () => show(i)));
  slider.addEventListener('input', () => show(+slider.value));
  show(buttons.length - 1);
  addEventListener('load', () => show(+slider.value));
}
)js";

}  // namespace millrace
