"""Static files outside DEBUG: compressed, and named by their content, so caches never lie."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    # Our scripts are ES modules that import each other; their imports are renamed as well.
    support_js_module_import_aggregation = True
