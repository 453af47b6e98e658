// A copy of memory that is not read again soon.
#pragma once

#include <cstddef>

namespace millrace {

// As memcpy(), but what it writes goes past the caches where the processor can do that: it need not read first the
// lines that are overwritten, so that two thirds of the traffic are left, and what others have in the caches stays
// there.
void stream_copy(void* target, const void* source, size_t size);

}  // namespace millrace
