"""The picture that links to the site are shown with: `python -m tools.card` makes docs/card.png.

It needs a browser, so it is not among what `python -m tools` makes.
"""

from __future__ import annotations

import base64

from tools import incident
from tools.browser import running
from tools.svg import DARK, ROOT

CARD = ROOT / "docs/card.png"
PAGE = """
<body style="margin: 0; width: 1200px; height: 630px; background: #12141b; color: {ink};
             font-family: 'DejaVu Sans', sans-serif; display: flex; align-items: center">
  <div style="width: 470px; padding: 0 30px 0 60px">
    <div style="font-size: 58px; font-weight: bold">zenvark_web</div>
    <div style="font-size: 29px; line-height: 1.4; margin-top: 24px">
      Circuit breakers that a fleet of Python web processes shares through Redis
    </div>
  </div>
  <img width="600" src="data:image/svg+xml;base64,{picture}">
</body>
"""


def main() -> None:
    """Draw it."""
    picture = base64.b64encode(str(incident.draw(DARK)).encode()).decode()
    page = PAGE.format(ink=DARK.ink, picture=picture)
    with running() as browser:
        browser.resize("card", "dark")
        browser.visit("data:text/html;base64," + base64.b64encode(page.encode()).decode())
        CARD.write_bytes(browser.picture(whole=False))


if __name__ == "__main__":
    main()
