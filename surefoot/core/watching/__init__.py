"""Tell from daily counts whether a champion that serves for months has left its own past."""
