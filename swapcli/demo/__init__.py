"""A demo that anyone can run: three tiny real models, and a configuration that swaps between them.

Needs the extra ``llama``; nothing is downloaded.
"""

from __future__ import annotations

from ._curl import curl_lines as curl_lines
from ._files import DemoFiles as DemoFiles, demo_directory as demo_directory, prepare as prepare
