{ admission: true }
