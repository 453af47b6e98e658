// Sets up the process for every command, however it was started.
#pragma once

namespace millrace {

// Descriptors 0 to 2 are open, so that no file of ours gets the number of a closed standard output and its lines; a
// file that grows beyond a limit (ulimit -f, a quota) is a failed write instead of death by SIGXFSZ; one that becomes
// shorter while it is mapped ends the process with a message that names it; as many files may be open as the
// system allows.
void prepare_process();

// Whether a descriptor's output has no reader: a pipe whose other end was closed, a terminal that is gone, or
// a descriptor closed by the parent process. A full disk does not count.
bool has_no_reader(int descriptor);

// Ends the program without the destructors of static objects: libtorch's take 0.2 s to withdraw its operators one by
// one.
[[noreturn]] void leave(int status);

}  // namespace millrace
