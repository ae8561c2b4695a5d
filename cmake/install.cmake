# Installation: tools, manual pages, shell completion, and libvmmapi with what its users need.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS bhyve bhyveload bhyvectl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
file(GLOB man8 ${PROJECT_SOURCE_DIR}/docs/man/*.8)
file(GLOB man5 ${PROJECT_SOURCE_DIR}/docs/man/*.5)
file(GLOB man3 ${PROJECT_SOURCE_DIR}/docs/man/*.3)
foreach(section 3 5 8)
  install(FILES ${man${section}} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()
foreach(tool bhyve bhyveload bhyvectl)
  install(FILES ${PROJECT_SOURCE_DIR}/tools/completion/bhyve.bash
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ${tool})
endforeach()

# The library is made of the same objects as the tools. Only folders that touch data of other shared
# libraries (type tables, streams) need code for it; thread-local variables say initial-exec themselves.
foreach(folder base host pmap mem machine api engine_soft)
  set_target_properties(${folder} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_compile_options(${folder} PRIVATE -fno-semantic-interposition)
endforeach()
file(WRITE ${PROJECT_BINARY_DIR}/empty.cpp "")
add_library(vmmapi SHARED ${PROJECT_BINARY_DIR}/empty.cpp)
# All of api, and what it needs of the rest; only the names of the map are seen.
target_link_libraries(vmmapi PRIVATE -Wl,--whole-archive api -Wl,--no-whole-archive)
add_dependencies(vmmapi api)
target_link_options(vmmapi PRIVATE
  -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/package/vmmapi.map -Wl,-Bsymbolic
  -Wl,--no-undefined)
set_target_properties(vmmapi PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 2
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
  LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/package/vmmapi.map)
target_include_directories(vmmapi INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/bhyve/compat>)
target_compile_features(vmmapi INTERFACE cxx_std_20)
install(TARGETS vmmapi EXPORT vmmapi LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/bhyve DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
# The file finds itself, so that the installed tree can be moved.
file(RELATIVE_PATH VMMAPI_PC_UP "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" VMMAPI_PC_UP "${VMMAPI_PC_UP}")
configure_file(cmake/package/vmmapi.pc.in vmmapi.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/vmmapi.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
configure_package_config_file(cmake/package/vmmapi-config.cmake.in vmmapi-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vmmapi)
write_basic_package_version_file(vmmapi-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vmmapi-config.cmake
              ${PROJECT_BINARY_DIR}/vmmapi-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vmmapi)
install(EXPORT vmmapi NAMESPACE bhyve:: FILE vmmapi-targets.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vmmapi)
