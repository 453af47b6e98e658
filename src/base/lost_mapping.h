// A mapped file that becomes unusable: shortened by another program, or on a disk that fails or is full.
#pragma once

namespace millrace {

// After this call, reading bytes of a mapped file that are gone ends the process with a message that names the file and
// with the status of StorageError, instead of by SIGBUS. Nothing can be thrown there: any instruction may be the
// reader.
void report_lost_mappings();

}  // namespace millrace
