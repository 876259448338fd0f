#include "report/html.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/hash.h"
#include "report/format.h"

namespace slipway::report {
namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--fg:#1b2430;--dim:#5d6b7c;--line:#dfe4ea;--grid:#edf0f3;--good:#0b7a4b;
--bad:#c22f2f;--warn:#93600a;--goodbg:#e2f5ec;--badbg:#fde8e8;--warnbg:#fdf2dc;--accent:#2a6fdb;
--c0:#2a6fdb;--c1:#e07b1f;--c2:#179a74;--c3:#b34fa8;--c4:#c9a100;--c5:#4fb3d9;--c6:#d14545;--c7:#77808c}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2028;--fg:#e4e9ef;--dim:#94a1b2;--line:#2d3642;--grid:#252d37;
--good:#4fd09a;--bad:#ff8080;--warn:#f0bd5e;--goodbg:#143527;--badbg:#421f22;--warnbg:#3a2d12;--accent:#6ea4f7;
--c0:#6ea4f7;--c1:#f39b4a;--c2:#3fc79c;--c3:#d583cb;--c4:#e0c14a;--c5:#7fcdea;--c6:#f07575;--c7:#9aa5b3}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:18px;margin:0 0 12px}
h3{font-size:15px;margin:18px 0 8px}
p{margin:0 0 10px;overflow-wrap:anywhere}
.sub{color:var(--dim);margin-bottom:18px;font-size:13.5px}
.note{color:var(--dim);font-size:13.5px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:12px;margin:16px 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px}
.tile b{display:block;font-size:21px;font-weight:650;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tile span{color:var(--dim);font-size:12.5px;overflow-wrap:anywhere}
.scroll{overflow:auto;max-height:640px}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{position:sticky;top:0;background:var(--card);color:var(--dim);font-weight:600;white-space:nowrap;z-index:1}
th[data-sort]{cursor:pointer;user-select:none}
th[data-sort]:hover,th[data-sort]:focus-visible{color:var(--fg)}
th[aria-sort=ascending]::after{content:" ↑"}th[aria-sort=descending]::after{content:" ↓"}
tbody tr:hover{background:var(--grid)}
tr:last-child td{border-bottom:0}
.num{text-align:right;white-space:nowrap}
.code{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,monospace;font-size:12.5px;overflow-wrap:anywhere;max-width:420px}
.name{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,monospace;font-size:12.5px;white-space:nowrap}
.good,.bad,.warn{font-weight:600}
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}.dim{color:var(--dim)}
td .pill{display:inline-block;padding:0 9px;border-radius:10px;white-space:nowrap}
.good .pill{background:var(--goodbg)}.bad .pill{background:var(--badbg)}.warn .pill{background:var(--warnbg)}
.tools{display:flex;gap:10px;margin:0 0 10px;align-items:center;flex-wrap:wrap}
input,select,button{font:inherit;font-size:13.5px;color:inherit;background:var(--bg);border:1px solid var(--line);border-radius:7px;padding:5px 10px}
input{flex:1;min-width:180px}
.count{color:var(--dim);font-size:13px}
.tabs{display:flex;gap:6px;flex-wrap:wrap;margin-bottom:12px}
.tabs button{cursor:pointer}
.tabs button[aria-selected=true]{background:var(--accent);border-color:var(--accent);color:var(--card)}
.legend{display:flex;gap:16px;flex-wrap:wrap;font-size:13px;color:var(--dim);margin:4px 0 8px}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
figure{margin:0}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--fg);font-size:12px}
svg .label{paint-order:stroke;stroke:var(--card);stroke-width:3.5px;stroke-linejoin:round}
svg .tick{fill:var(--dim);font-size:11.5px}svg .title{fill:var(--dim);font-size:12.5px}svg .note{fill:var(--dim);font-size:11.5px}
svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--dim)}
svg .reference{stroke:var(--good);stroke-dasharray:2 4}svg .limit{stroke:var(--bad);stroke-dasharray:6 4}
svg .front{fill:none;stroke:var(--dim);stroke-width:1.5;stroke-dasharray:4 3}
svg .strip{fill:var(--grid);fill-opacity:.45;stroke:var(--line)}
svg .dot{stroke:var(--card);stroke-width:1.5}svg .hollow{fill:var(--card)}
svg .hit{fill:transparent}svg .bar:hover .hit{fill:var(--grid)}
.viewer{display:grid;grid-template-columns:minmax(0,1fr) 340px;gap:14px}
.viewer .drawing{border:1px solid var(--line);border-radius:8px;height:78vh;overflow:hidden;background:var(--bg)}
.viewer .panel{max-height:78vh;overflow:auto;font-size:13px}
@media (max-width:900px){.viewer{grid-template-columns:1fr}}
svg.graph{height:100%;cursor:grab;touch-action:none;outline-offset:-2px}
svg.graph.drag{cursor:grabbing}
svg.graph .edge{fill:none;stroke:var(--dim);stroke-opacity:.55;stroke-width:1.4}
svg.graph .edge.on{stroke:var(--accent);stroke-opacity:1;stroke-width:2.6}
svg.graph .gnode{cursor:pointer;outline:none}
svg.graph .gnode rect{fill:var(--card);stroke:var(--node);stroke-width:1.6}
svg.graph .gnode:hover rect,svg.graph .gnode:focus-visible rect{fill:var(--grid)}
svg.graph .gnode.on rect{stroke:var(--accent);stroke-width:3.5}
svg.graph.searched .gnode{opacity:.25}svg.graph.searched .gnode.found{opacity:1}
svg .gtitle{font-size:12px;font-weight:650}svg .gsub{font-size:10.5px;fill:var(--dim)}
.panel h3{margin:0 0 8px;overflow-wrap:anywhere}.panel td{padding:4px 8px;overflow-wrap:anywhere}.panel td:first-child{color:var(--dim)}
ul{margin:0;padding-left:20px}li{overflow-wrap:anywhere}
@media print{body{background:#fff}section{break-inside:avoid}.scroll{max-height:none}.tools{display:none}}
)css";

// Sorting, filtering, tabs. It moves and hides rows; it never makes markup out of text.
constexpr std::string_view kScript = R"js(
document.querySelectorAll('table').forEach(function(table){
  var body=table.tBodies[0];
  table.querySelectorAll('th[data-sort]').forEach(function(th,column){
    function sort(){
      var up=th.getAttribute('aria-sort')!=='ascending';
      table.querySelectorAll('th').forEach(function(o){o.removeAttribute('aria-sort')});
      th.setAttribute('aria-sort',up?'ascending':'descending');
      var rows=Array.from(body.rows);
      function key(r){var c=r.cells[column],v=c.getAttribute('data-v');return v===null?c.textContent:parseFloat(v)}
      rows.sort(function(a,b){
        var x=key(a),y=key(b),nx=typeof x==='number',ny=typeof y==='number';
        if(nx!==ny)return nx?-1:1;
        var d=nx?x-y:x.localeCompare(y,undefined,{numeric:true});
        return up?d:-d});
      rows.forEach(function(r){body.appendChild(r)});
    }
    th.addEventListener('click',sort);
    th.addEventListener('keydown',function(e){if(e.key==='Enter'||e.key===' '){e.preventDefault();sort()}});
  });
});
document.querySelectorAll('.tools:not(.graphsearch)').forEach(function(tools){
  var box=tools.nextElementSibling,input=tools.querySelector('input'),select=tools.querySelector('select'),
      count=tools.querySelector('.count'),rows=Array.from(box.querySelectorAll('tbody tr'));
  function apply(){
    var words=input.value.toLowerCase().split(/\s+/).filter(Boolean),shown=0;
    rows.forEach(function(r){
      var text=r.textContent.toLowerCase();
      var ok=words.every(function(w){return text.indexOf(w)>=0});
      if(ok&&select&&select.selectedIndex>0)
        ok=r.cells[+select.getAttribute('data-column')].textContent===select.options[select.selectedIndex].textContent;
      r.hidden=!ok;if(ok)shown++});
    count.textContent=shown+' of '+rows.length;
  }
  input.addEventListener('input',apply);if(select)select.addEventListener('change',apply);apply();
});
document.querySelectorAll('.viewer').forEach(function(viewer){
  var svg=viewer.querySelector('svg.graph');if(!svg)return;
  var vb=svg.viewBox.baseVal,whole={x:vb.x,y:vb.y,width:vb.width,height:vb.height},
      details=Array.from(viewer.querySelectorAll('[data-detail]')),
      search=viewer.parentNode.querySelector('.graphsearch input'),count=viewer.parentNode.querySelector('.graphsearch .count'),
      chosen=null,drag=null;
  function box(){return svg.getBoundingClientRect()}
  function start(){
    var b=box(),scale=Math.min(Math.max(whole.width/b.width,whole.height/b.height),Math.max(1,whole.width/b.width));
    vb.width=b.width*scale;vb.height=b.height*scale;vb.x=whole.x+(whole.width-vb.width)/2;vb.y=whole.y;
  }
  function zoom(f,cx,cy){
    var b=box(),px=vb.x+(cx-b.left)/b.width*vb.width,py=vb.y+(cy-b.top)/b.height*vb.height,
        w=Math.min(Math.max(vb.width*f,80),Math.max(whole.width,whole.height)*4);
    f=w/vb.width;vb.x=px-(px-vb.x)*f;vb.y=py-(py-vb.y)*f;vb.width*=f;vb.height*=f;
  }
  svg.addEventListener('wheel',function(e){e.preventDefault();zoom(Math.exp(e.deltaY*.0015),e.clientX,e.clientY)},{passive:false});
  svg.addEventListener('pointerdown',function(e){drag={x:e.clientX,y:e.clientY,moved:false}});
  window.addEventListener('pointermove',function(e){
    if(!drag)return;var b=box(),dx=e.clientX-drag.x,dy=e.clientY-drag.y;
    if(Math.abs(dx)+Math.abs(dy)>3)drag.moved=true;
    if(drag.moved){svg.classList.add('drag');vb.x-=dx/b.width*vb.width;vb.y-=dy/b.height*vb.height;drag.x=e.clientX;drag.y=e.clientY}});
  window.addEventListener('pointerup',function(e){
    if(drag&&!drag.moved){var g=e.target.closest?e.target.closest('.gnode'):null;if(g)choose(g.getAttribute('data-node'))}
    drag=null;svg.classList.remove('drag')});
  svg.addEventListener('keydown',function(e){
    var b=box(),s=vb.width*.1;
    if(e.key==='+'||e.key==='=')zoom(.8,b.left+b.width/2,b.top+b.height/2);
    else if(e.key==='-')zoom(1.25,b.left+b.width/2,b.top+b.height/2);
    else if(e.key==='ArrowLeft')vb.x-=s;else if(e.key==='ArrowRight')vb.x+=s;
    else if(e.key==='ArrowUp')vb.y-=s;else if(e.key==='ArrowDown')vb.y+=s;
    else if(e.key==='0')start();
    else if(e.key==='Enter'&&e.target.classList.contains('gnode'))choose(e.target.getAttribute('data-node'));
    else return;
    e.preventDefault()});
  function choose(id){
    chosen=id;
    svg.querySelectorAll('.gnode').forEach(function(g){g.classList.toggle('on',g.getAttribute('data-node')===id)});
    svg.querySelectorAll('.edge').forEach(function(p){
      p.classList.toggle('on',p.getAttribute('data-from')===id||p.getAttribute('data-to')===id)});
    details.forEach(function(d){d.hidden=d.getAttribute('data-detail')!==id});
  }
  function centre(g){var r=g.querySelector('rect'),x=r.x.baseVal.value+r.width.baseVal.value/2,y=r.y.baseVal.value;
    vb.x=x-vb.width/2;vb.y=y-vb.height/2}
  if(search)search.addEventListener('input',function(){
    var words=search.value.toLowerCase().split(/\s+/).filter(Boolean),found=0,first=null;
    svg.classList.toggle('searched',words.length>0);
    svg.querySelectorAll('.gnode').forEach(function(g){
      var text=g.textContent.toLowerCase(),ok=words.length>0&&words.every(function(w){return text.indexOf(w)>=0});
      g.classList.toggle('found',ok);if(ok){found++;first=first||g}});
    count.textContent=words.length?found+' found':'';
    if(first)centre(first)});
  start();choose(details.length?details[0].getAttribute('data-detail'):'0');
});
document.querySelectorAll('.tabs').forEach(function(tabs){
  var buttons=Array.from(tabs.querySelectorAll('button')),panels=[],p=tabs.nextElementSibling;
  buttons.forEach(function(){panels.push(p);p=p.nextElementSibling});
  function show(k){buttons.forEach(function(b,i){b.setAttribute('aria-selected',i===k);panels[i].hidden=i!==k})}
  buttons.forEach(function(b,i){b.addEventListener('click',function(){show(i)})});show(0);
});
)js";

std::string Base64(std::span<const uint8_t> bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const uint32_t v = static_cast<uint32_t>(bytes[i]) << 16 |
                       (i + 1 < bytes.size() ? bytes[i + 1] << 8 : 0) |
                       (i + 2 < bytes.size() ? bytes[i + 2] : 0);
    out += kDigits[v >> 18];
    out += kDigits[v >> 12 & 63];
    out += i + 1 < bytes.size() ? kDigits[v >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kDigits[v & 63] : '=';
  }
  return out;
}

std::string Element(const std::string& tag, const std::string& css, const std::string& text) {
  return "<" + tag + (css.empty() ? "" : " class=\"" + css + "\"") + ">" + EscapeHtml(text) + "</" +
         tag + ">\n";
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (char c : Printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

void HtmlPage::Heading(const std::string& text, const std::string& subtitle) {
  body_ += Element("h1", "", text) + Element("div", "sub", subtitle);
}
// Sections close where the next begins; Render closes the last.
void HtmlPage::Section(const std::string& text) {
  body_ += "</section><section>\n" + Element("h2", "", text);
}
void HtmlPage::Subsection(const std::string& text) { body_ += Element("h3", "", text); }
void HtmlPage::Paragraph(const std::string& text) { body_ += Element("p", "", text); }
void HtmlPage::Note(const std::string& text) { body_ += Element("p", "note", text); }
void HtmlPage::Figure(const std::string& svg) { body_ += "<figure>" + svg + "</figure>\n"; }

void HtmlPage::Viewer(const std::string& graph, const std::vector<HtmlDetail>& details) {
  body_ +=
      "<div><div class=\"tools graphsearch\"><input type=\"search\" placeholder=\"Find nodes…\" "
      "aria-label=\"Find nodes\"><span class=\"count\"></span></div><div class=\"viewer\"><div "
      "class=\"drawing\">" +
      graph + "</div><div class=\"panel\">\n";
  for (size_t i = 0; i < details.size(); ++i) {
    body_ += "<div data-detail=\"" + std::to_string(i) + "\" hidden>" +
             Element("h3", "", details[i].title) + "<table><tbody>\n";
    for (const auto& [key, value] : details[i].rows)
      body_ += "<tr><td>" + EscapeHtml(key) + "</td><td>" + EscapeHtml(value) + "</td></tr>\n";
    body_ += "</tbody></table></div>\n";
  }
  body_ += "</div></div></div>\n";
}

void HtmlPage::List(const std::vector<std::string>& items) {
  body_ += "<ul>";
  for (const auto& item : items) body_ += Element("li", "", item);
  body_ += "</ul>\n";
}

void HtmlPage::Tiles(const std::vector<std::vector<std::string>>& tiles) {
  body_ += "<div class=\"tiles\">\n";
  for (const auto& t : tiles) {
    if (t.size() != 3) continue;
    body_ += "<div class=\"tile\"><span>" + EscapeHtml(t[0]) + "</span><b>" + EscapeHtml(t[1]) +
             "</b><span>" + EscapeHtml(t[2]) + "</span></div>\n";
  }
  body_ += "</div>\n";
}

void HtmlPage::Tabs(const std::vector<std::pair<std::string, std::string>>& tabs) {
  if (tabs.size() > 1) {
    body_ += "<div class=\"tabs\" role=\"tablist\">";
    for (const auto& [name, markup] : tabs) {
      body_ += "<button type=\"button\" role=\"tab\">" + EscapeHtml(name) + "</button>";
    }
    body_ += "</div>\n";
  }
  for (const auto& [name, markup] : tabs) body_ += "<div role=\"tabpanel\">" + markup + "</div>\n";
}

void HtmlPage::Table(const HtmlTable& table) {
  if (table.filter) {
    body_ +=
        "<div class=\"tools\"><input type=\"search\" placeholder=\"Filter…\" "
        "aria-label=\"Filter\">";
    if (table.filter_column >= 0 &&
        static_cast<size_t>(table.filter_column) < table.columns.size()) {
      const size_t column = static_cast<size_t>(table.filter_column);
      std::vector<std::string> values;
      std::set<std::string> seen;
      for (const auto& row : table.rows) {
        if (column < row.size() && seen.insert(row[column].text).second)
          values.push_back(row[column].text);
      }
      body_ += "<select data-column=\"" + std::to_string(column) + "\" aria-label=\"" +
               EscapeHtml(table.columns[column].title) + "\"><option>all</option>";
      for (const auto& v : values) body_ += "<option>" + EscapeHtml(v) + "</option>";
      body_ += "</select>";
    }
    body_ += "<span class=\"count\"></span></div>\n";
  }
  body_ += "<div class=\"scroll\"><table><thead><tr>";
  for (const auto& c : table.columns) {
    body_ += std::string("<th scope=\"col\"") +
             (table.sortable ? " data-sort tabindex=\"0\"" : "") +
             (c.numeric ? " class=\"num\"" : "") + ">" + EscapeHtml(c.title) + "</th>";
  }
  body_ += "</tr></thead><tbody>\n";
  for (const auto& row : table.rows) {
    body_ += "<tr>";
    for (size_t i = 0; i < table.columns.size(); ++i) {
      const HtmlCell cell = i < row.size() ? row[i] : HtmlCell{};
      std::string css = cell.css;
      if (table.columns[i].numeric) css += css.empty() ? "num" : " num";
      body_ += "<td";
      if (!css.empty()) body_ += " class=\"" + EscapeHtml(css) + "\"";
      if (cell.sort) {
        char number[40];
        std::snprintf(number, sizeof number, "%.9g", *cell.sort);
        body_ += std::string(" data-v=\"") + number + "\"";
      }
      if (!cell.title.empty()) body_ += " title=\"" + EscapeHtml(cell.title) + "\"";
      const bool pill = cell.css == "good" || cell.css == "bad" || cell.css == "warn";
      body_ += ">" + std::string(pill ? "<span class=\"pill\">" : "") + EscapeHtml(cell.text) +
               (pill ? "</span>" : "") + "</td>";
    }
    body_ += "</tr>\n";
  }
  body_ += "</tbody></table></div>\n";
}

std::string HtmlPage::Render() const {
  Sha256 hash;
  hash.Update(kScript);
  const Sha256Digest digest = hash.Finish();
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n";
  out +=
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; "
      "script-src 'sha256-" +
      Base64(digest) + "'; base-uri 'none'; form-action 'none'\">\n";
  out += "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>" +
         EscapeHtml(title_) + "</title>\n<style>" + std::string(kStyle) +
         "</style></head>\n<body><main>\n";
  // The first Section closes what nothing opened: drop that one tag.
  std::string body = body_;
  if (const size_t first = body.find("</section><section>"); first != std::string::npos) {
    body.erase(first, 10);
    body += "</section>\n";
  }
  return out + body + "</main>\n<script>" + std::string(kScript) + "</script></body></html>\n";
}

}  // namespace slipway::report
