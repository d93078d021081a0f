"""Makes the built pages easier to read than Markdown by itself does.

Words of inline code that have hyphens, such as options, get a class that does not break by
``docs/stylesheets/site.css``; long words may break, since a phone has no line for them. A sign
stays on the line of its number, and so do the groups of its digits. Pictures open in full size.
"""

import re

CODE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
WORD = re.compile(r"(?<!\S)(?=\S*-)\S{2,30}(?!\S)")
# Code stays as it is, for it is copied.
SPACE = re.compile(r"<pre.*?</pre>|<code.*?</code>|(?<=\d) (?=[±%]|\d{3}\b)", re.DOTALL)
PICTURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*>')


def on_page_content(html: str, **_: object) -> str:
    """The content of a page with whole words, numbers with their signs, and pictures as links."""
    html = CODE.sub(lambda code: WORD.sub(r'<span class="word">\g<0></span>', code[0]), html)
    html = SPACE.sub(lambda m: "\N{NO-BREAK SPACE}" if m[0] == " " else m[0], html)
    return PICTURE.sub(r'<a href="\1">\g<0></a>', html)
