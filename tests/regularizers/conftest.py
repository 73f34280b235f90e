from tests.support.compilation import sequential_loops_are_compiled_at_once

__all__ = ["sequential_loops_are_compiled_at_once"]
