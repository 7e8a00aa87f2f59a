"""Put a stand-in for Colab's module `google.colab` into the environment that runs this."""

import sysconfig
from pathlib import Path

folder = Path(sysconfig.get_path("purelib")) / "google" / "colab"
folder.mkdir(parents=True, exist_ok=True)
(folder / "__init__.py").write_text('"""Stands in for Google Colab\'s module."""\n')
