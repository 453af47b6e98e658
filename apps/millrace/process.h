// What every command wants of its process before anything else, whatever started it.
#pragma once

namespace millrace {

// Descriptors 0 to 2 are open, so that no file of ours gets the number of a closed standard output and its lines; a
// file that grows beyond a limit (ulimit -f, a quota) is a failed write and not the end by SIGXFSZ; as many files may
// be open as the system allows.
void prepare_process();

// Whether a descriptor's output reaches no reader: a pipe whose other end was closed, a terminal that is gone, or
// closed by whoever started the program. A full disk is something else.
bool has_no_reader(int descriptor);

}  // namespace millrace
