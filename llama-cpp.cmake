# What every CMake project in the build of llama-cpp-python includes: CMAKE_PROJECT_INCLUDE in the
# Makefile names this file. No variable on the command line does what stands here.

# The library of llama.cpp's own programs, which llama-cpp-python asks for in every build. We need
# none of those programs, and it is half of the work.
set(LLAMA_BUILD_COMMON OFF)

# Without the matrix instructions of Intel's AMX. llama.cpp describes its tiles to the processor in
# a variable whose content GCC drops when it optimises, so that a model's first token ends the
# process (ggml-org/llama.cpp, pull request 26954).
include(CheckCXXCompilerFlag)
check_cxx_compiler_flag(-mno-amx-int8 COMPILER_KNOWS_AMX)
if(COMPILER_KNOWS_AMX)
  add_compile_options(-mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
endif()

# A sixth of the time of the build, 76 instead of 91 seconds on two processors.
function(spend_less_on_the_library)
  # The headers that nearly every file of the library includes, compiled once.
  target_precompile_headers(llama PRIVATE
    <algorithm> <cmath> <fstream> <functional> <future> <map> <memory> <random> <regex> <set>
    <sstream> <string> <thread> <unordered_map> <vector>)
  # The library reads models and tells ggml what to compute; ggml, which computes, keeps all
  # optimisations, and so do grammars and samplers, which look at a whole vocabulary at each token.
  target_compile_options(llama PRIVATE $<$<CONFIG:Release>:-O1>)
  set_source_files_properties(src/llama-grammar.cpp src/llama-sampler.cpp
    TARGET_DIRECTORY llama
    PROPERTIES COMPILE_OPTIONS $<$<CONFIG:Release>:-O3> SKIP_PRECOMPILE_HEADERS ON)
endfunction()
if(PROJECT_NAME STREQUAL "llama.cpp" AND CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  cmake_language(DEFER CALL spend_less_on_the_library)
endif()
