# Run by `cmake --install`: lays the headers of the library out in ${staged}/culvert as a consumer includes them.
# "io/fd.h" becomes "culvert/io/fd.h" and "src/protocol/peer.h" becomes "culvert/protocol/peer.h", in the name of the
# file as in what it includes: names as plain as ours belong to whoever builds the program.
file(REMOVE_RECURSE ${staged})
foreach(folder IN LISTS folders)
  file(GLOB_RECURSE headers RELATIVE ${source} ${source}/${folder}/*.h)
  foreach(header IN LISTS headers)
    # What the vector engines are made of needs their compiler flags, and programs for the kernel their target.
    if(header MATCHES "^crypto/(aead_(engine|lanes|piece|single_)|chacha20_|declassify|poly1305_|address)|_engine\\.h$|\\.bpf\\.h$")
      continue()
    endif()
    file(READ ${source}/${header} text)
    string(REGEX REPLACE "#include \"(src/)?([^\"]*)\"" "#include \"culvert/\\2\"" text "${text}")
    string(REGEX REPLACE "^src/" "" installed ${header})
    file(WRITE ${staged}/culvert/${installed} "${text}")
  endforeach()
endforeach()
