# What every target of the project shares, and the two functions that folders use.

add_library(bhyve_options INTERFACE)
target_include_directories(bhyve_options INTERFACE ${PROJECT_SOURCE_DIR}/src
                                                   ${PROJECT_SOURCE_DIR}/include)
target_compile_options(bhyve_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Werror -Wshadow -Wold-style-cast -Wcast-qual
    -Wsuggest-override -Wnon-virtual-dtor -Wextra-semi -Wundef>
  -fno-strict-aliasing)
set(BHYVE_PATIENCE 1) # time limits of tests times this
if(BHYVE_SANITIZE)
  set(BHYVE_PATIENCE 4)
  # The sanitizers' data of every object belongs to other shared libraries, and libvmmapi is made of
  # the same objects as the tools (cmake/install.cmake).
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  target_compile_options(bhyve_options INTERFACE -fsanitize=${BHYVE_SANITIZE}
                                                 -fno-omit-frame-pointer)
  target_link_options(bhyve_options INTERFACE -fsanitize=${BHYVE_SANITIZE})
  if(BHYVE_SANITIZE MATCHES "undefined")
    target_compile_options(bhyve_options INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

# bhyve_library(NAME [DEPENDS lib...] [LINK external...]): the one library of the current folder. Its
# sources are the .cpp files of the folder and below; DEPENDS are sibling folders' libraries and must
# agree with the include matrix in docs/architecture.md (tests/arch/include_matrix.py).
function(bhyve_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cpp *.S)
  foreach(pattern ${ARG_EXCLUDE})
    list(FILTER sources EXCLUDE REGEX ${pattern})
  endforeach()
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC bhyve_options ${ARG_DEPENDS} ${ARG_LINK})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE bhyve_options ${ARG_DEPENDS} ${ARG_LINK})
  endif()
endfunction()

# bhyve_test(NAME SOURCES... [DEPENDS lib...] [LABELS ...]): a GoogleTest program, one CTest entry.
function(bhyve_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPENDS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE bhyve_options ${ARG_DEPENDS} GTest::gtest GTest::gmock
                                        GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  math(EXPR limit "${ARG_TIMEOUT} * ${BHYVE_PATIENCE}")
  set_tests_properties(${name} PROPERTIES TIMEOUT ${limit})
endfunction()
