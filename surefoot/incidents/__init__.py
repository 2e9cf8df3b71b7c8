"""Report, review and announce the incidents of models: the parts that need the journal, the log and the versions."""
